# What drivers in Perl share, whatever their client: how a scenario is started, and words with the runner.
package Stagehand;
use v5.36;
use utf8;
use Exporter qw(import);
use POSIX ();
use Test::More;

our @EXPORT = qw(ask answered is like ok numbers play same url);

use constant {
    LACKS  => 77,    # the exit code that says: this client cannot
    WAIT_S => 50,    # for a scenario, without what it asks for: to start a broker may take as long again
};

$| = 1;
Test::More->builder->failure_output(\*STDOUT);

# Both are equal, however deep they are; ends the driver otherwise.
sub same ($got, $expected) {
    is_deeply($got, $expected) or exit 1;
}

# Has the runner do something to the broker while the driver goes on; `answered` waits for its end.
sub ask ($words) {
    alarm 0;
    say "ask $words";
}

sub answered {
    same(scalar readline(STDIN), "done\n");
    alarm WAIT_S;
}

# Where to connect to: host, port, user, pass and vhost.
sub url {
    my %url;
    @url{qw(user pass host port vhost)} = $ENV{AMQP_URL} =~ m{^amqp://(.*?):(.*?)@(.*?):(\d+)/(.*)$};
    $url{vhost} =~ s/%(..)/chr hex $1/ge;
    return %url;
}

# From 0.
sub numbers ($count) {
    return [0 .. $count - 1];
}

# Runs the scenario that the command line names last, and exits.
sub play ($scenarios, $version) {
    my $name = $ARGV[-1];
    if ($name eq 'version') {
        say "version $version";
        POSIX::_exit(0);
    }
    if (!$scenarios->{$name}) {
        say "nobody wrote $name";
        POSIX::_exit(LACKS);
    }
    local $SIG{ALRM} = sub { say 'still waiting after ' . WAIT_S . ' s'; POSIX::_exit(1) };
    alarm WAIT_S;
    $scenarios->{$name}->();
    done_testing;
    POSIX::_exit(0);    # not into the ends of connections that brokers were killed on
}

1;
