# Perl's AnyEvent::RabbitMQ: callbacks, here waited for one by one; no recovery of its own, so with a loop around it.
use v5.36;
use utf8;
use AnyEvent;
use AnyEvent::RabbitMQ;
use FindBin;
use lib "$FindBin::Bin/..";
use Encode qw(decode_utf8 encode_utf8);
use List::Util qw(uniq);
use Net::AMQP::Value;
use Stagehand;
use Time::HiRes qw(sleep);

# Calls a method that tells its success and its failure to callbacks, and waits for either: what the former got, or dies.
sub done ($object, $method, %arguments) {
    my $told = AE::cv;
    $object->$method(%arguments, on_success => sub { $told->send(@_) }, on_failure => sub { $told->croak("@_") });
    return $told->recv;
}

# A connection; what it is closed with is sent to `$closed`.
sub connection ($closed = AE::cv, %changes) {
    my $told   = AE::cv;
    my $client = AnyEvent::RabbitMQ->new->load_xml_spec->connect(
        url(), timeout => 10, %changes,
        on_success      => sub { $told->send(@_) },
        on_failure      => sub { $told->croak($_[-1]) },
        on_read_failure => sub { say "read: @_" },
        on_close        => sub ($why) {
            $closed->send(ref $why ? $why->method_frame : $why);
            $told->croak('closed');
        },
    );
    return $told->recv;
}

# A channel, and a condition variable that gets what it is closed with; the connection lives as long as it is kept.
my @connections;

sub channel ($connection = connection()) {
    push @connections, $connection;
    my $closed = AE::cv;
    return done($connection, 'open_channel', on_close => sub ($frame) { $closed->send($frame->method_frame) }), $closed;
}

sub confirming {
    my ($channel) = channel();
    done($channel, 'confirm');
    return $channel;
}

sub declare ($channel, $queue, %arguments) {
    return done($channel, 'declare_queue', queue => $queue, %arguments)->method_frame;
}

sub count ($channel, $queue) {
    return declare($channel, $queue, passive => 1)->message_count;
}

# Publishes, and waits until all are confirmed.
sub put ($channel, $to, $key, $texts, %header) {
    my $confirmed = AE::cv;
    for my $text (@$texts) {
        $confirmed->begin;
        $channel->publish(
            exchange => $to, routing_key => $key, body => $text, header => {%header},
            on_ack   => sub { $confirmed->end }, on_nack => sub { $confirmed->croak('not confirmed') },
        );
    }
    $confirmed->recv if @$texts;
}

sub get ($channel, $queue, %arguments) {
    my $got = done($channel, 'get', queue => $queue, %arguments);
    return $got->{empty} ? undef : $got;
}

sub body ($message) {
    return $message->{body}->payload;
}

sub texts ($channel, $queue) {
    my @texts;
    while (my $message = get($channel, $queue)) { push @texts, body($message) }
    return \@texts;
}

# A consumer: a function that waits for its next message, and its tag.
sub inbox ($channel, $queue, %arguments) {
    my (@messages, $arrived);
    my $frame = done(
        $channel, 'consume', queue => $queue, %arguments,
        on_consume => sub ($message) { push @messages, $message; $arrived->send if $arrived },
    );
    my $next = sub {
        ($arrived = AE::cv)->recv unless @messages;
        undef $arrived;
        return shift @messages;
    };
    return $next, $frame->method_frame->consumer_tag;
}

sub tag_of ($message) {
    return $message->{deliver}->method_frame->delivery_tag;
}

sub exists_queue ($queue) {
    my ($channel, $closed) = channel();
    return 1 if eval { declare($channel, $queue, passive => 1) };
    same($closed->recv->reply_code, 404);
    return 0;
}

sub until_gone ($queue) {
    sleep 0.02 while exists_queue($queue);
}

# The broker closes the channel, or the connection, saying so. Class and method of a fault are not to be had: a frame's
# class_id and method_id are its own.
sub told ($closed, $code, $name, $text = '') {
    my $frame = $closed->recv;
    same($frame->reply_code, $code);
    like($frame->reply_text, qr/^$name - $text/) or exit 1;
}

my %scenarios = (
    connect => sub {
        my $connection = connection();
        my $seen       = $connection->server_properties;
        say "$seen->{product} $seen->{version}";
        same([@{$seen->{capabilities}}{qw(publisher_confirms connection.blocked)}], [1, 1]);
        done($connection, 'close');
        same($connection->is_open, '');
    },

    auth_failure => sub {
        my $closed = AE::cv;    # brokers say why to those that announce that they understand it
        my $able   = {capabilities => {authentication_failure_close => Net::AMQP::Value::true}};
        same(scalar eval { connection($closed, pass => 'wrong', client_properties => $able) }, undef);
        told($closed, 403, 'ACCESS_REFUSED', 'Login was refused using authentication mechanism AMQPLAIN');
    },

    no_vhost => sub {
        my $closed = AE::cv;
        same(scalar eval { connection($closed, vhost => 'nowhere') }, undef);
        told($closed, 530, 'NOT_ALLOWED', 'vhost nowhere not found');
    },

    publish_confirm => sub {
        my $channel = confirming();
        declare($channel, 'q', durable => 1);
        put($channel, '', 'q', numbers(100), delivery_mode => 2);
        same(count($channel, 'q'), 100);
        same(texts($channel, 'q'), numbers(100));
    },

    mandatory_return => sub {
        my $channel = confirming();
        my ($returned, $acked) = (AE::cv, AE::cv);
        $channel->publish(
            exchange => 'amq.direct', routing_key => 'nobody', body => 'lost', mandatory => 1,
            on_return => $returned, on_ack => $acked,
        );
        my $frame = $returned->recv->method_frame;    # it gets no more than that: not the message
        same([map { $frame->$_ } qw(reply_code reply_text exchange routing_key)], [312, 'NO_ROUTE', 'amq.direct', 'nobody']);
        $acked->recv;
    },

    get => sub {
        my $channel = confirming();
        declare($channel, 'q');
        put($channel, '', 'q', [qw(a b)]);
        my $message = get($channel, 'q', no_ack => 0);
        my $frame   = $message->{ok}->method_frame;
        same([body($message), map { $frame->$_ } qw(exchange routing_key redelivered message_count)], ['a', '', 'q', 0, 1]);
        $channel->ack(delivery_tag => $frame->delivery_tag);
        same(texts($channel, 'q'), ['b']);
        same(get($channel, 'q'), undef);
    },

    work_queue => sub {
        my $channel = confirming();
        declare($channel, 'q');
        my (@done, @workers);
        my $all = AE::cv;
        for my $number (0, 1) {
            my ($worker) = channel();
            push @workers, $worker;
            done($worker, 'qos', prefetch_count => 1);
            my $work = sub ($message) {
                push @done, [$number, body($message)];
                $worker->ack(delivery_tag => tag_of($message));
                $all->send if @done == 20;
            };
            done($worker, 'consume', queue => 'q', no_ack => 0, on_consume => $work);
        }
        same(declare($channel, 'q', passive => 1)->consumer_count, 2);
        put($channel, '', 'q', numbers(20));
        $all->recv;
        same([sort { $a <=> $b } map { $_->[1] } @done], numbers(20));
        same([sort(uniq(map { $_->[0] } @done))], [0, 1]);
        sleep 0.02 while count($channel, 'q');
    },

    fanout => sub {
        my $channel = confirming();
        done($channel, 'declare_exchange', exchange => 'news', type => 'fanout');
        for my $queue (qw(a b c)) {
            declare($channel, $queue);
            done($channel, 'bind_queue', queue => $queue, exchange => 'news', routing_key => '');
        }
        put($channel, 'news', 'any', ['hello']);
        same(texts($channel, $_), ['hello']) for qw(a b c);
    },

    topic => sub {
        my $channel = confirming();
        done($channel, 'declare_exchange', exchange => 'logs', type => 'topic');
        my @patterns = ('*.error', 'app.#', '#', 'app.*.disk');
        for my $pattern (@patterns) {
            declare($channel, $pattern);
            done($channel, 'bind_queue', queue => $pattern, exchange => 'logs', routing_key => $pattern);
        }
        my @keys = qw(app app.error db.error app.error.disk db.error.disk);
        put($channel, 'logs', $_, [$_]) for @keys;
        same(
            [map { texts($channel, $_) } @patterns],
            [[qw(app.error db.error)], [qw(app app.error app.error.disk)], \@keys, ['app.error.disk']],
        );
    },

    headers => sub {
        my $channel = confirming();
        done($channel, 'declare_exchange', exchange => 'h', type => 'headers');
        for my $match (qw(all any)) {
            declare($channel, $match);
            my $arguments = {'x-match' => $match, kind => 'report', pages => Net::AMQP::Value::String->new(2)};
            done($channel, 'bind_queue', queue => $match, exchange => 'h', routing_key => '', arguments => $arguments);
        }
        put($channel, 'h', '', ['both'], headers => {kind => 'report', pages => 2, more => 'yes'});    # 2: written as a text
        put($channel, 'h', '', ['one'],  headers => {kind => 'report', pages => 3});
        put($channel, 'h', '', ['none'], headers => {kind => 'note'});
        same([map { texts($channel, $_) } qw(all any)], [['both'], [qw(both one)]]);
    },

    rpc => sub {
        my ($server) = channel();
        declare($server, 'double');
        my $answer = sub ($call) {
            my %header = (correlation_id => $call->{header}->correlation_id);
            $server->publish(routing_key => $call->{header}->reply_to, body => 2 * body($call), header => \%header);
            $server->ack(delivery_tag => tag_of($call));
        };
        done($server, 'consume', queue => 'double', no_ack => 0, on_consume => $answer);
        my ($client) = channel();
        my ($replies) = inbox($client, 'amq.rabbitmq.reply-to');
        for my $number (@{numbers(10)}) {
            my %header = (reply_to => 'amq.rabbitmq.reply-to', correlation_id => $number);
            $client->publish(routing_key => 'double', body => $number, header => \%header);
            my $reply = $replies->();
            same([$reply->{header}->correlation_id, body($reply)], [$number, 2 * $number]);
        }
    },

    ordering => sub {
        my $channel = confirming();
        declare($channel, 'q');
        my ($next) = inbox($channel, 'q');
        put($channel, '', 'q', numbers(1000));
        same([map { body($next->()) } 1 .. 1000], numbers(1000));
    },

    large_message => sub {
        my $channel = confirming();
        declare($channel, 'q');
        my $body = join '', map { pack 'N', rand 2**32 } 1 .. 10 * 1024 * 1024 / 4;
        put($channel, '', 'q', [$body], delivery_mode => 2);
        my ($next) = inbox($channel, 'q');
        ok(body($next->()) eq $body) or exit 1;
    },

    many_channels => sub {
        my $channel = confirming();
        declare($channel, 'q');
        my @channels = map { (channel($connections[0]))[0] } 1 .. 999;
        done($_, 'confirm') for @channels;
        my $confirmed = AE::cv;
        for my $each (@channels) {    # not one by one: it writes a publish in parts, and the second waits for the first
            $confirmed->begin;
            $each->publish(routing_key => 'q', body => $each->id, on_ack => sub { $confirmed->end });
        }
        $confirmed->recv;
        same([sort { $a <=> $b } texts($channel, 'q')->@*], [map { $_->id } @channels]);
        done($_, 'close') for @channels;
    },

    table_types => sub {
        my $channel = confirming();
        declare($channel, 'q');
        # All that Net::AMQP writes; a null it writes as well, but does not read again.
        my %plain = (
            text => 'plain', empty => '', long => 'x' x 20_000, bytes => "\x00\xff\x80", unicode => encode_utf8('ü漢字🐰'),
            digits => '17', fraction => '0.1', list => [1, 'two', [3], {four => 4}], table => {inner => {deeper => [2]}},
            none => [], nobody => {},
        );
        my %typed = (
            small => Net::AMQP::Value::Integer->new(-1), large => Net::AMQP::Value::Integer->new(2**31 - 1),
            when  => Net::AMQP::Value::Timestamp->new(1_700_000_000),
            yes   => Net::AMQP::Value::true, no => Net::AMQP::Value::false,
        );
        put($channel, '', 'q', ['x'], headers => {%plain, %typed});
        my %read = (small => -1, large => 2**31 - 1, when => 1_700_000_000, yes => 1, no => 0);
        same(get($channel, 'q')->{header}->headers, {%plain, %read});
    },

    exclusive => sub {
        my $mine = connection();
        my ($channel) = channel($mine);
        declare($channel, 'mine', exclusive => 1);
        my ($other, $closed) = channel();
        same(scalar eval { declare($other, 'mine', passive => 1) }, undef);
        told($closed, 405, 'RESOURCE_LOCKED');
        done($mine, 'close');
        until_gone('mine');
    },

    auto_delete => sub {
        my ($channel) = channel();
        declare($channel, 'q', auto_delete => 1);
        my (undef, $first)  = inbox($channel, 'q');
        my (undef, $second) = inbox($channel, 'q');
        done($channel, 'cancel', consumer_tag => $first);
        same(exists_queue('q'), 1);
        done($channel, 'cancel', consumer_tag => $second);
        until_gone('q');
    },

    priorities => sub {
        my $channel = confirming();
        declare($channel, 'q', arguments => {'x-max-priority' => 10});
        put($channel, '', 'q', [$_], priority => $_) for 1, 9, 5, 10, 0, 5;
        my ($next) = inbox($channel, 'q');
        same([map { body($next->()) } 1 .. 6], [10, 9, 5, 5, 1, 0]);
    },

    tx => sub {
        my ($channel) = channel();
        declare($channel, 'q');
        done($channel, 'select_tx');
        $channel->publish(routing_key => 'q', body => 'kept');
        same(count($channel, 'q'), 0);
        done($channel, 'commit_tx');
        same(count($channel, 'q'), 1);
        $channel->publish(routing_key => 'q', body => 'forgotten');
        my $message = get($channel, 'q', no_ack => 0);
        $channel->ack(delivery_tag => $message->{ok}->method_frame->delivery_tag);
        done($channel, 'rollback_tx');
        done($channel, 'recover');
        $message = get($channel, 'q', no_ack => 0);
        same([body($message), map { $message->{ok}->method_frame->$_ } qw(redelivered message_count)], ['kept', 1, 0]);
    },

    recover => sub {
        my $channel = confirming();
        declare($channel, 'q');
        put($channel, '', 'q', ['again']);
        my ($next) = inbox($channel, 'q', no_ack => 0);
        my @retry = (    # it has no nack
            sub ($tag) { done($channel, 'recover') },
            sub ($tag) { $channel->reject(delivery_tag => $tag, requeue => 1) },
        );
        for my $round (0, 1) {
            my $message = $next->();
            same($message->{deliver}->method_frame->redelivered, $round);
            $retry[$round]->(tag_of($message));
        }
        my $message = $next->();
        same([body($message), $message->{deliver}->method_frame->redelivered], ['again', 1]);
        $channel->reject(delivery_tag => tag_of($message));
        same(count($channel, 'q'), 0);
    },

    unbind_purge_delete => sub {
        my $channel = confirming();
        declare($channel, 'q');
        my %binding = (queue => 'q', exchange => 'amq.direct', routing_key => 'key', arguments => {reason => 'test'});
        done($channel, 'bind_queue', %binding);
        put($channel, 'amq.direct', 'key', [qw(a b c)]);
        done($channel, 'unbind_queue', %binding);
        put($channel, 'amq.direct', 'key', ['unheard']);
        same(done($channel, 'purge_queue', queue => 'q')->method_frame->message_count, 3);
        put($channel, '', 'q', [qw(d e)]);
        same([map { done($channel, 'delete_queue', queue => 'q')->method_frame->message_count } 1, 2], [2, 0]);
    },

    consumer_cancel => sub {
        my ($channel) = channel();
        declare($channel, 'q');
        my $cancelled = AE::cv;
        done($channel, 'consume', queue => 'q', consumer_tag => 'mine', on_cancel => $cancelled);
        ask('delete_queue q');
        answered();
        same($cancelled->recv->method_frame->consumer_tag, 'mine');
    },

    reconnect => sub {
        my ($channel, %seen);
        my $open = sub {
            $channel = confirming();
            declare($channel, $_, durable => 1) for qw(kept work);
            my $work = sub ($message) {
                $seen{body($message)} = 1;
                $channel->ack(delivery_tag => tag_of($message));
            };
            done($channel, 'consume', queue => 'work', no_ack => 0, on_consume => $work);
        };
        # Until it is done, with a new connection whenever one is lost.
        my $surely = sub ($act) {
            until (eval { $open->() unless $channel && $channel->is_open; $act->(); 1 }) {
                say "lost: $@";
                undef $channel;
                sleep 0.1;
            }
        };
        my $publish = sub ($queue, $texts) {
            for my $text (@$texts) {
                $surely->(sub { put($channel, '', $queue, [$text], delivery_mode => 2) });
            }
        };
        $publish->('kept', numbers(20));
        ask('kill');
        $publish->('work', numbers(40));
        answered();
        $publish->('work', [qw(after that)]);
        while (keys %seen < 42) {
            $surely->(sub { count($channel, 'work') });    # consumes meanwhile
        }
        same(texts($channel, 'kept'), numbers(20));
    },

    heartbeat_loss => sub {
        my $closed = AE::cv;
        my ($channel) = channel(connection($closed, tune => {heartbeat => 1}));
        my $patience = AE::cv;
        my $timer    = AE::timer 4, 0, $patience;
        $patience->recv;    # heartbeats go both ways meanwhile
        same($channel->is_open, 1);
        ask('freeze 6');
        answered();
        same($closed->recv, 'Heartbeat lost');
        same($channel->is_open, '');
        ($channel) = channel();    # when it moves again
        declare($channel, 'back');
    },

    non_ascii => sub {
        my ($name, $to, $key, $pattern, $text, $tag, $header) = map { encode_utf8($_) }
            'größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'ключ.*.漢', 'Grüße, 世界 🐇', 'täg-🏷', 'schlüssel-鍵';
        my $channel = confirming();
        declare($channel, $name);
        done($channel, 'declare_exchange', exchange => $to, type => 'topic');
        done($channel, 'bind_queue', queue => $name, exchange => $to, routing_key => $pattern);
        my ($next) = inbox($channel, $name, consumer_tag => $tag);
        put($channel, $to, $key, [$text], headers => {$header => $text}, type => $tag);
        my $message = $next->();
        my ($how, $header_frame) = ($message->{deliver}->method_frame, $message->{header});
        same([map { $how->$_ } qw(exchange routing_key consumer_tag)], [$to, $key, $tag]);
        same([$header_frame->headers, $header_frame->type, body($message)], [{$header => $text}, $tag, $text]);
    },

    error_codes => sub {
        my $connection = connection();
        my ($channel) = channel($connection);
        declare($channel, 'durable', durable => 1);
        my @provocations = (
            [404, 'NOT_FOUND',           sub ($on) { count($on, 'missing') }],
            [406, 'PRECONDITION_FAILED', sub ($on) { declare($on, 'durable') }],
            [403, 'ACCESS_REFUSED',      sub ($on) { done($on, 'declare_exchange', exchange => 'amq.mine') }],
            [406, 'PRECONDITION_FAILED', sub ($on) { $on->ack(delivery_tag => 7) }],
            [404, 'NOT_FOUND',           sub ($on) { $on->publish(exchange => 'missing', routing_key => '', body => 'x') }],
        );
        for my $provocation (@provocations) {
            my ($code, $text, $provoke) = @$provocation;
            my ($on, $closed) = channel($connection);
            eval { $provoke->($on) };
            told($closed, $code, $text);
        }
        my @fatal = (
            [503, 'COMMAND_INVALID', sub ($on) { done($on, 'declare_exchange', exchange => 'x', type => 'no-such-type') }],
            [540, 'NOT_IMPLEMENTED', sub ($on) { done($on, 'qos', prefetch_size => 1) }],
            [540, 'NOT_IMPLEMENTED', sub ($on) { $on->publish(routing_key => 'q', body => 'x', immediate => 1) }],
            [530, 'NOT_ALLOWED',     sub ($on) { done($on, 'consume', queue => 'durable', consumer_tag => 'twice') for 1, 2 }],
        );
        for my $provocation (@fatal) {
            my ($code, $text, $provoke) = @$provocation;
            my ($on) = channel(connection(my $lost = AE::cv));
            eval { $provoke->($on) };
            told($lost, $code, $text);
        }
    },
);

play(\%scenarios, AnyEvent::RabbitMQ->VERSION);
