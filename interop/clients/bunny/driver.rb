# Ruby's bunny, with the recovery of connections and topology that it does of its own.
require 'bigdecimal'
require 'bunny'
require 'securerandom'

URL = ENV['AMQP_URL']
$stdout.sync = true

def same(expected, got)
  raise "expected #{expected.inspect}, got #{got.inspect}" unless expected == got
end

def match(pattern, text)
  raise "expected #{pattern.inspect}, got #{text.inspect}" unless pattern.match?(text)
end

# What the block raises, which has to be a `kind`.
def raised(kind)
  yield
rescue kind => e
  e
else
  raise "no #{kind}"
end

def wait_until
  sleep 0.02 until yield
end

def ask(words)
  puts "ask #{words}"
  same 'done', $stdin.gets.chomp
end

def connect(**options)
  Bunny.new(URL, network_recovery_interval: 0.1, **options).start
end

def open(**options)
  channel = connect(**options).create_channel
  channel.confirm_select
  channel
end

def deliver(exchange, texts, **options)
  texts.each { |text| exchange.publish(text, options.dup) } # it takes out what it has read
  same true, exchange.wait_for_confirms
end

def put(queue, *texts, **options)
  deliver(queue.channel.default_exchange, texts, routing_key: queue.name, **options)
end

# All that a queue has, got one by one.
def texts(queue)
  found = []
  while (text = queue.pop.last)
    found << text
  end
  found
end

# A Thread::Queue of [delivery info, properties, body], which consumers fill from their thread.
def inbox(queue, **options)
  inbox = Thread::Queue.new
  queue.subscribe(**options) { |*message| inbox << message }
  inbox
end

def numbers(count)
  Array.new(count, &:to_s)
end

SCENARIOS = {
  connect: lambda {
    connection = connect
    seen = connection.server_properties
    puts seen.values_at('product', 'version').join(' ')
    same [true, true], seen['capabilities'].values_at('publisher_confirms', 'connection.blocked')
    connection.close
    same :closed, connection.status
  },

  auth_failure: lambda {
    # Bunny logs the text, and raises a sentence of its own.
    error = raised(Bunny::AuthenticationFailureError) { connect(password: 'wrong') }
    match(/^Authentication with RabbitMQ failed/, error.message)
  },

  no_vhost: lambda {
    error = raised(Bunny::NotAllowedError) { connect(vhost: 'nowhere') }
    same 530, error.connection_close.reply_code
    match(/NOT_ALLOWED - vhost nowhere not found/, error.message)
  },

  publish_confirm: lambda {
    channel = open
    queue = channel.queue('q', durable: true)
    put(queue, *numbers(100), persistent: true)
    same [[], 101], [channel.unconfirmed_set.to_a, channel.next_publish_seq_no]
    same 100, queue.message_count
    same numbers(100), texts(queue)
  },

  mandatory_return: lambda {
    exchange = open.direct('amq.direct')
    returned = Thread::Queue.new
    exchange.on_return { |*message| returned << message }
    deliver(exchange, ['lost'], routing_key: 'nobody', mandatory: true, message_id: 'm1')
    info, properties, body = returned.pop
    same [312, 'NO_ROUTE'], [info.reply_code, info.reply_text]
    same %w[amq.direct nobody m1 lost], [info.exchange, info.routing_key, properties.message_id, body]
  },

  get: lambda {
    channel = open
    queue = channel.queue('q')
    put(queue, 'a', 'b')
    info, _, body = queue.pop(manual_ack: true)
    same ['a', '', 'q', false], [body, info.exchange, info.routing_key, info.redelivered?]
    same 1, queue.message_count # get-ok has it as well, and bunny keeps it for itself
    channel.ack(info.delivery_tag)
    same ['b'], texts(queue)
    same [nil, nil, nil], queue.pop
  },

  work_queue: lambda {
    channel = open
    queue = channel.queue('q')
    done = Thread::Queue.new
    2.times do |worker|
      own = channel.connection.create_channel
      own.prefetch(1)
      own.queue('q').subscribe(manual_ack: true) do |info, _, body|
        sleep 0.005
        own.ack(info.delivery_tag)
        done << [worker, body]
      end
    end
    same 2, queue.consumer_count
    put(queue, *numbers(20))
    all = Array.new(20) { done.pop }
    same numbers(20), all.map(&:last).sort_by(&:to_i)
    same [0, 1], all.map(&:first).uniq.sort
    wait_until { queue.message_count.zero? }
  },

  fanout: lambda {
    channel = open
    exchange = channel.fanout('news')
    queues = %w[a b c].map { |name| channel.queue(name).bind(exchange) }
    deliver(exchange, ['hello'])
    same [['hello']] * 3, queues.map { |queue| texts(queue) }
  },

  topic: lambda {
    channel = open
    exchange = channel.topic('logs')
    patterns = { star: '*.error', hash: 'app.#', all: '#', middle: 'app.*.disk' }
    queues = patterns.map { |name, pattern| channel.queue(name.to_s).bind(exchange, routing_key: pattern) }
    keys = %w[app app.error db.error app.error.disk db.error.disk]
    keys.each { |key| deliver(exchange, [key], routing_key: key) }
    star, hash, all, middle = queues.map { |queue| texts(queue) }
    same %w[app.error db.error], star
    same %w[app app.error app.error.disk], hash
    same keys, all
    same %w[app.error.disk], middle
  },

  headers: lambda {
    channel = open
    exchange = channel.headers('h')
    all, any = %w[all any].map do |match|
      channel.queue(match).bind(exchange, arguments: { 'x-match' => match, 'kind' => 'report', 'pages' => 2 })
    end
    deliver(exchange, ['both'], headers: { kind: 'report', pages: 2, more: true })
    deliver(exchange, ['one'], headers: { kind: 'report', pages: 3 })
    deliver(exchange, ['none'], headers: { kind: 'note' })
    same ['both'], texts(all)
    same %w[both one], texts(any)
  },

  rpc: lambda {
    server = open
    server.queue('double').subscribe(manual_ack: true) do |info, call, body|
      match(/^amq\.rabbitmq\.reply-to\./, call.reply_to)
      answer = { routing_key: call.reply_to, correlation_id: call.correlation_id }
      server.default_exchange.publish((2 * body.to_i).to_s, answer)
      server.ack(info.delivery_tag)
    end
    client = open
    replies = inbox(client.queue('amq.rabbitmq.reply-to', no_declare: true))
    numbers(10).each do |number|
      call = { routing_key: 'double', reply_to: 'amq.rabbitmq.reply-to', correlation_id: number }
      client.default_exchange.publish(number, call)
      _, properties, body = replies.pop
      same [number, (2 * number.to_i).to_s], [properties.correlation_id, body]
    end
  },

  ordering: lambda {
    queue = open.queue('q')
    got = inbox(queue)
    put(queue, *numbers(1000))
    same numbers(1000), Array.new(1000) { got.pop.last }
  },

  large_message: lambda {
    queue = open.queue('q')
    body = SecureRandom.bytes(10 * 1024 * 1024)
    put(queue, body, persistent: true)
    raise 'another body' unless inbox(queue).pop.last == body
  },

  many_channels: lambda {
    queue = open.queue('q')
    channels = Array.new(999) { queue.channel.connection.create_channel }
    channels.each(&:confirm_select)
    channels.each { |channel| channel.default_exchange.publish(channel.number.to_s, routing_key: 'q') }
    channels.each { |channel| same true, channel.wait_for_confirms }
    same channels.map { |channel| channel.number.to_s }.sort, texts(queue).sort
    channels.each(&:close)
  },

  table_types: lambda {
    queue = open.queue('q')
    headers = {
      'small' => -1, 'medium' => 2**31, 'large' => -2**63, 'largest' => 2**63 - 1, 'fraction' => 0.1,
      'yes' => true, 'no' => false, 'nothing' => nil, 'when' => Time.at(1_700_000_000), 'text' => 'plain', 'empty' => '',
      'bytes' => "\x00\xFF\x80".b, 'unicode' => 'ü漢字🐰'.b, 'long' => 'x' * 20_000,
      'list' => [1, nil, true, [3], { 'four' => 4 }, 'last'], # bunny does not read a short last element of its own list
      'table' => { 'inner' => { 'deeper' => [2] } },
      'none' => [], 'nobody' => {}
    }
    named = { 'price' => BigDecimal(7), 'half' => AMQ::Protocol::Float32Bit.new(0.5), 'symbol' => :sym }
    put(queue, 'x', headers: headers.merge(named))
    _, properties, = queue.pop
    expected = headers.merge('price' => 7, 'half' => 0.5, 'symbol' => 'sym')
    same expected.keys, properties.headers.keys
    expected.each { |name, value| same [name, value], [name, properties.headers[name]] }
  },

  exclusive: lambda {
    mine = open
    mine.queue('mine', exclusive: true)
    other = connect
    error = raised(Bunny::ResourceLocked) { other.create_channel.queue('mine', passive: true) }
    same 405, error.channel_close.reply_code
    match(/RESOURCE_LOCKED/, error.message)
    mine.connection.close
    wait_until { !other.queue_exists?('mine') }
  },

  auto_delete: lambda {
    channel = open
    queue = channel.queue('q', auto_delete: true)
    first, second = Array.new(2) { queue.subscribe { raise } }
    first.cancel
    same true, channel.connection.queue_exists?('q')
    second.cancel
    wait_until { !channel.connection.queue_exists?('q') }
  },

  priorities: lambda {
    queue = open.queue('q', arguments: { 'x-max-priority' => 10 })
    [1, 9, 5, 10, 0, 5].each { |priority| put(queue, priority.to_s, priority: priority) }
    got = inbox(queue)
    same %w[10 9 5 5 1 0], Array.new(6) { got.pop.last }
  },

  retry_loop: lambda {
    channel = open
    to = ->(key) { { 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => key } }
    work = channel.queue('work', arguments: to['retry'])
    channel.queue('retry', arguments: to['work'].merge('x-message-ttl' => 50))
    put(work, 'try me')
    got = inbox(work, manual_ack: true)
    3.times do |round|
      info, properties, = got.pop
      deaths = properties.headers.to_h.fetch('x-death', []).map { |death| death.values_at('queue', 'reason', 'count') }
      same (round.zero? ? [] : [['retry', 'expired', round], ['work', 'rejected', round]]), deaths.sort
      round < 2 ? channel.nack(info.delivery_tag) : channel.ack(info.delivery_tag)
    end
  },

  tx: lambda {
    channel = connect.create_channel
    queue = channel.queue('q')
    channel.tx_select
    queue.publish('kept')
    same 0, queue.message_count
    channel.tx_commit
    same 1, queue.message_count
    queue.publish('forgotten')
    info, = queue.pop(manual_ack: true)
    channel.ack(info.delivery_tag)
    channel.tx_rollback
    channel.recover
    info, _, body = queue.pop(manual_ack: true)
    same ['kept', true, 0], [body, info.redelivered?, queue.message_count]
  },

  recover: lambda {
    channel = open
    queue = channel.queue('q')
    put(queue, 'again')
    got = inbox(queue, manual_ack: true)
    back = [->(_) { channel.recover }, ->(tag) { channel.nack(tag, false, true) }, ->(tag) { channel.reject(tag, true) }]
    back.each_with_index do |give_back, round|
      info, = got.pop
      same round.positive?, info.redelivered?
      give_back.call(info.delivery_tag)
    end
    info, _, body = got.pop
    same ['again', true], [body, info.redelivered?]
    channel.reject(info.delivery_tag)
    same 0, queue.message_count
  },

  unbind_purge_delete: lambda {
    channel = open
    queue = channel.queue('q')
    exchange = channel.direct('amq.direct')
    binding = { routing_key: 'key', arguments: { 'reason' => 'test' } }
    queue.bind(exchange, binding)
    deliver(exchange, %w[a b c], routing_key: 'key')
    queue.unbind(exchange, binding)
    deliver(exchange, ['unheard'], routing_key: 'key')
    same 3, channel.queue_purge('q').message_count
    put(queue, 'd', 'e')
    same [2, 0], Array.new(2) { queue.delete.message_count }
  },

  consumer_cancel: lambda {
    queue = open.queue('q')
    cancelled = Thread::Queue.new
    consumer = queue.subscribe(on_cancellation: ->(cancel) { cancelled << cancel.consumer_tag }) { raise }
    ask 'delete_queue q'
    same consumer.consumer_tag, cancelled.pop
  },

  blocked: lambda {
    queue = open.queue('q')
    connection = queue.channel.connection
    news = Thread::Queue.new
    connection.on_blocked { |blocked| news << blocked.reason }
    connection.on_unblocked { news << 'unblocked' }
    ask 'block'
    queue.publish('waits')
    match(/memory/, news.pop)
    same true, connection.blocked?
    ask 'unblock'
    same 'unblocked', news.pop
    same true, queue.channel.wait_for_confirms
    same ['waits'], texts(queue)
  },

  reconnect: lambda {
    recovered = Thread::Queue.new
    connection = connect(recovery_completed: -> { recovered << :again }, continuation_timeout: 5_000)
    channel = connection.create_channel
    confirmed = Set.new
    channel.confirm_select(->(tag, _, nack) { confirmed << tag unless nack })
    kept, work = %w[kept work].map { |name| channel.queue(name, durable: true) }
    seen = Set.new
    consuming = connection.create_channel
    consuming.queue('work', durable: true).subscribe(manual_ack: true) do |info, _, body|
      seen << body
      consuming.ack(info.delivery_tag)
    end
    # Until it is confirmed: what was on its way when the connection was lost is for the application to repeat.
    surely = lambda do |queue, text|
      loop do
        tag = channel.next_publish_seq_no
        begin
          queue.publish(text, persistent: true)
          channel.wait_for_confirms
        rescue Bunny::Exception, Timeout::Error, SystemCallError, IOError => e
          puts "lost: #{e.class}"
        end
        break if confirmed.include?(tag)

        recovered.pop
      end
    end
    numbers(20).each { |text| surely.call(kept, text) }
    killing = Thread.new { ask 'kill' }
    numbers(40).each { |text| surely.call(work, text) }
    killing.join
    %w[after that].each { |text| surely.call(work, text) }
    wait_until { seen.size == 42 }
    same numbers(20), texts(kept)
  },

  heartbeat_loss: lambda {
    recovered = Thread::Queue.new
    queue = open(heartbeat: 1, recovery_completed: -> { recovered << :again }).queue('q')
    sleep 4 # heartbeats go both ways meanwhile
    same true, recovered.empty?
    ask 'freeze 6'
    same :again, recovered.pop
    put(queue, 'back')
    same ['back'], texts(queue)
  },

  non_ascii: lambda {
    channel = open
    name, exchange_name, key, text = ['größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'Grüße, 世界 🐇'].map(&:b)
    queue = channel.queue(name)
    exchange = channel.topic(exchange_name)
    queue.bind(exchange, routing_key: 'ключ.*.漢'.b)
    got = inbox(queue, consumer_tag: 'täg-🏷'.b)
    deliver(exchange, [text], routing_key: key, headers: { 'schlüssel-鍵'.b => text }, type: 'typ-ü'.b)
    info, properties, body = got.pop
    same [exchange_name, key, 'täg-🏷'.b], [info.exchange, info.routing_key, info.consumer_tag]
    same [{ 'schlüssel-鍵'.b => text }, 'typ-ü'.b, text], [properties.headers, properties.type, body]
    same true, channel.connection.queue_exists?(name)
  },

  update_secret: lambda {
    connection = connect
    same AMQ::Protocol::Connection::UpdateSecretOk, connection.update_secret('guest', 'it was time').class
    connection.create_channel.queue('q')
  },

  error_codes: lambda {
    connection = connect(recover_from_connection_close: false)
    connection.create_channel.queue('durable', durable: true)
    [
      [Bunny::NotFound, 404, 'NOT_FOUND', [50, 10], ->(channel) { channel.queue('missing', passive: true) }],
      [Bunny::PreconditionFailed, 406, 'PRECONDITION_FAILED', [50, 10], ->(channel) { channel.queue('durable') }],
      [Bunny::AccessRefused, 403, 'ACCESS_REFUSED', [40, 10], ->(channel) { channel.direct('amq.mine') }]
    ].each do |kind, code, text, method, provoke|
      close = raised(kind) { provoke.call(connection.create_channel) }.channel_close
      same [code, *method], [close.reply_code, close.class_id, close.method_id]
      match(/^#{text} - /, close.reply_text)
    end

    channel = connection.create_channel
    told = Thread::Queue.new
    channel.on_error { |_, close| told << close }
    channel.ack(7)
    match(/^PRECONDITION_FAILED - unknown delivery tag 7/, told.pop.reply_text)

    channel = connection.create_channel
    channel.basic_publish('x', 'missing', '')
    wait_until { channel.closed? }
    match(/NOT_FOUND - no exchange 'missing'/, raised(Bunny::ChannelAlreadyClosed) { channel.queue('q') }.message)

    [
      [Bunny::CommandInvalid, 503, 'COMMAND_INVALID', ->(channel) { channel.exchange('x', type: 'no-such-type') }],
      [Bunny::NotAllowedError, 530, 'NOT_ALLOWED', ->(channel) { 2.times { channel.basic_consume('durable', 'twice') } }]
    ].each do |kind, code, text, provoke|
      # Raised in the thread that started the connection, whatever it does by then.
      error = raised(kind) { provoke.call(connect(recover_from_connection_close: false).create_channel) && sleep }
      same code, error.connection_close.reply_code
      match(/#{text}/, error.message)
    end
  }
}.freeze

scenario = ARGV.last
if scenario == 'version'
  puts "version #{Bunny::VERSION}"
elsif SCENARIOS.key?(scenario.to_sym)
  SCENARIOS[scenario.to_sym].call
else
  puts "nobody wrote #{scenario}"
  exit! 77
end
exit! 0
