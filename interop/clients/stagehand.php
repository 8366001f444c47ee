<?php
// What drivers in PHP share, whatever their client: how a scenario is started, and words with the runner.
declare(strict_types=1);

function same(mixed $expected, mixed $got): void
{
    if ($expected !== $got) {
        throw new Exception('expected ' . var_export($expected, true) . ', got ' . var_export($got, true));
    }
}

function matches(string $pattern, string $text): void
{
    preg_match($pattern, $text) || throw new Exception("expected $pattern, got $text");
}

/** What `$act` throws, which has to be of that class. */
function thrown(string $class, callable $act): Throwable
{
    try {
        $act();
    } catch (Throwable $error) {
        return $error instanceof $class ? $error : throw $error;
    }
    throw new Exception("no $class");
}

/** Has the runner do something to the broker while the driver goes on; `answered` waits for its end. */
function ask(string $words): void
{
    echo "ask $words\n";
}

function answered(): void
{
    same("done\n", fgets(STDIN));
}

/** Where to connect to; the virtual host is its `vhost`. */
function url(): array
{
    $url = parse_url(getenv('AMQP_URL'));
    return $url + ['vhost' => rawurldecode(substr($url['path'], 1))];
}

function until(callable $is_true): void
{
    while (!$is_true()) {
        usleep(20_000);
    }
}

/** From 0, as texts. */
function numbers(int $count): array
{
    return array_map('strval', range(0, $count - 1));
}

/** What messages say. */
function bodies(array $messages): array
{
    return array_map(fn ($message) => $message->getBody(), $messages);
}

/** Runs the scenario that the command line names last. */
function play(array $scenarios, string $version): never
{
    global $argv;
    $scenario = end($argv);
    if ($scenario === 'version') {
        echo "version $version\n";
    } elseif (isset($scenarios[$scenario])) {
        $scenarios[$scenario]();
    } else {
        echo "nobody wrote $scenario\n";
        exit(77);
    }
    exit(0);
}
