#include "coord/grpc_transport.h"

#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/channel_arguments.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <format>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/assert.h"
#include "base/log.h"
#include "coord/etcd_messages.h"

namespace perdure::coord {
namespace {

// A wait for a connection cannot be called off: it is asked for in steps of this.
constexpr Duration kStateStep = std::chrono::milliseconds(100);
// For the reason why a channel does not connect.
constexpr Duration kProbeTime = std::chrono::milliseconds(100);
constexpr int kConnectMs = 2000;
constexpr int kReconnectFirstMs = 50;
constexpr int kReconnectLastMs = 1000;
// etcd ends connections that ask more often than each 5 s (--grpc-keepalive-min-time).
constexpr int kKeepaliveMs = 6000;
constexpr int kKeepaliveAnswerMs = 2000;
constexpr int kMaxReceivedBytes = 96 << 20;  // a page of a list, a response of a watch
// Suites of TLS 1.2 need RSA certificates here, and there are none: what is left is TLS 1.3.
constexpr const char* kOneOlderSuite = "ECDHE-RSA-AES128-GCM-SHA256";

gpr_timespec to_grpc(Instant deadline) {
  const Duration left = std::max(deadline - BootClock::now(), Duration::zero());
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left.count(), GPR_TIMESPAN));
}

grpc::ByteBuffer to_buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string to_bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

RpcStatus to_status(const grpc::Status& status) {
  return RpcStatus{static_cast<RpcCode>(status.error_code()), status.error_message(), false};
}

// What goes wrong comes back with a status; gRPC's own words are for those who look for more.
void log_of_grpc(gpr_log_func_args* line) {
  if (line->severity != GPR_LOG_SEVERITY_DEBUG) log::debug("grpc: {}", line->message);
}

bool is_pem(const std::string& text, std::string_view of_what) {
  const auto begin = text.find("-----BEGIN ");
  return begin != std::string::npos && text.find(of_what, begin) != std::string::npos;
}

Status check_credentials(const EtcdCredentials& credentials) {
  const auto missing = [](std::string_view what) {
    return fail(ErrorCode::kInvalid, std::format("etcd credentials: the {} is no PEM text", what));
  };
  if (!is_pem(credentials.authority, "CERTIFICATE")) return missing("authority's certificate");
  if (!is_pem(credentials.certificate, "CERTIFICATE")) return missing("certificate");
  if (!is_pem(credentials.key, "PRIVATE KEY")) return missing("key");
  return {};
}

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // libgrpc++ 1.51 aborts with them when a leader stops
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // renewed credentials: a new connection
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveAnswerMs);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // its pings count against etcd's limit
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectFirstMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectLastMs);
  arguments.SetMaxReceiveMessageSize(kMaxReceivedBytes);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return arguments;
}

enum class Step { kConnected, kStarted, kRead, kWritten, kWritesDone, kFinished };
constexpr std::size_t kSteps = 6;

class Operation;
struct Tag {
  Operation* operation = nullptr;
  Step step = Step::kConnected;
};

// What gRPC holds pointers into. Lives in GrpcTransport::State::operations until nothing is outstanding.
class Operation {
 public:
  Operation() {
    for (std::size_t i = 0; i < kSteps; ++i) tags_[i] = Tag{this, static_cast<Step>(i)};
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;
  virtual ~Operation() = default;

  void on_step(Step step, bool good) {
    --outstanding_;
    advance(step, good);
  }
  bool over() const { return outstanding_ == 0 && done_; }
  virtual void cancel() = 0;

 protected:
  virtual void advance(Step step, bool good) = 0;
  void* tag(Step step) {
    ++outstanding_;
    return &tags_[static_cast<std::size_t>(step)];
  }
  bool done_ = false;

 private:
  Tag tags_[kSteps];
  int outstanding_ = 0;
};

}  // namespace

class Channel {
 public:
  Channel(std::string endpoint, std::shared_ptr<grpc::Channel> channel)
      : endpoint_(std::move(endpoint)), channel_(std::move(channel)), stub_(channel_) {}
  const std::string& endpoint() const { return endpoint_; }
  grpc::Channel& grpc() const { return *channel_; }
  grpc::GenericStub& stub() { return stub_; }

 private:
  std::string endpoint_;
  std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
};

struct GrpcTransport::State {
  explicit State(io::Loop& loop_) : loop(loop_) {}

  io::Loop& loop;
  grpc::CompletionQueue queue;
  std::thread thread;
  std::atomic<bool> closing = false;
  std::unordered_map<Operation*, std::shared_ptr<Operation>> operations;

  // The thread's life: from create() to the destructor.
  static void work(State* state, std::weak_ptr<State> weak) {
    void* raw = nullptr;
    bool good = false;
    while (state->queue.Next(&raw, &good)) {
      if (state->closing) continue;
      const Tag tag = *static_cast<const Tag*>(raw);
      state->loop.post([weak, tag, good] {
        if (const auto alive = weak.lock()) alive->on_step(tag, good);
      });
    }
  }

  void on_step(Tag tag, bool good) {
    if (closing) return;
    const auto found = operations.find(tag.operation);
    PERDURE_ASSERT(found != operations.end());
    const std::shared_ptr<Operation> operation = found->second;
    operation->on_step(tag.step, good);
    if (operation->over()) operations.erase(operation.get());
  }
};

namespace {

void prepare(grpc::ClientContext& context, Leader leader) {
  context.set_wait_for_ready(false);
  if (leader == Leader::kNeeded) context.AddMetadata("hasleader", "true");
}

class UnaryCall final : public Operation {
 public:
  using Done = std::function<void(RpcStatus, std::string)>;
  UnaryCall(grpc::CompletionQueue& queue, RpcRequest request, Done done)
      : queue_(queue), request_(std::move(request)), done_answer_(std::move(done)) {}

  void start() { wait_for_connection(grpc_channel_state()); }

  void cancel() override {
    if (context_) context_->TryCancel();
  }

 protected:
  void advance(Step step, bool) override {
    if (step == Step::kFinished) return finished();
    wait_for_connection(grpc_channel_state());
  }

 private:
  grpc_connectivity_state grpc_channel_state() { return request_.channel->grpc().GetState(true); }

  void wait_for_connection(grpc_connectivity_state state) {
    if (state == GRPC_CHANNEL_READY) return send(request_.method, request_.message, request_.deadline);
    const Instant now = BootClock::now();
    const Instant until = std::min(request_.connect_until, request_.deadline);
    // A failure of before our time says nothing: another attempt is on its way.
    const bool failed = state == GRPC_CHANNEL_TRANSIENT_FAILURE && last_ != state && last_ != GRPC_CHANNEL_SHUTDOWN;
    if (failed || now >= until) return ask_why();
    last_ = state;
    request_.channel->grpc().NotifyOnStateChange(state, to_grpc(std::min(until, now + kStateStep)), &queue_,
                                                 tag(Step::kConnected));
  }

  // gRPC says why there is no connection only to a call: one that changes nothing, should it get through.
  void ask_why() {
    probing_ = true;
    send(std::string(kStatusMethod), {}, BootClock::now() + kProbeTime);
  }

  void send(const std::string& method, const std::string& message, Instant deadline) {
    context_ = std::make_unique<grpc::ClientContext>();
    prepare(*context_, probing_ ? Leader::kNotNeeded : request_.leader);
    context_->set_deadline(to_grpc(deadline));
    reader_ = request_.channel->stub().PrepareUnaryCall(context_.get(), method, to_buffer(message), &queue_);
    reader_->StartCall();
    reader_->Finish(&reply_, &status_, tag(Step::kFinished));
  }

  void finished() {
    RpcStatus status = to_status(status_);
    if (probing_) {
      probing_ = false;
      if (status.ok() && BootClock::now() < request_.deadline) {
        reply_.Clear();
        return send(request_.method, request_.message, request_.deadline);
      }
      if (status.ok() || status.code == RpcCode::kDeadlineExceeded) {
        status = RpcStatus{RpcCode::kUnavailable, "no connection in time", false};
      }
      status.not_sent = true;
    }
    done_ = true;
    if (const auto answer = std::exchange(done_answer_, nullptr)) answer(std::move(status), to_bytes(reply_));
  }

  grpc::CompletionQueue& queue_;
  RpcRequest request_;
  Done done_answer_;
  grpc_connectivity_state last_ = GRPC_CHANNEL_SHUTDOWN;
  bool probing_ = false;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader_;
  grpc::ByteBuffer reply_;
  grpc::Status status_;
};

class StreamCall final : public Operation {
 public:
  StreamCall(grpc::CompletionQueue& queue, RpcStreamRequest request, RpcStreamHandlers handlers)
      : channel_(std::move(request.channel)), handlers_(std::move(handlers)) {
    prepare(context_, request.leader);
    if (request.deadline) context_.set_deadline(to_grpc(*request.deadline));
    stream_ = channel_->stub().PrepareCall(&context_, request.method, &queue);
  }

  void start() { stream_->StartCall(tag(Step::kStarted)); }

  void send(std::string message) {
    outgoing_.push_back(std::move(message));
    write_next();
  }
  void sends_done() {
    half_close_ = true;
    write_next();
  }
  void read() {
    read_wanted_ = true;
    read_next();
  }
  void abandon() {
    handlers_ = {};
    cancel();
    if (!finishing_) finish();
  }
  void cancel() override { context_.TryCancel(); }

 protected:
  void advance(Step step, bool good) override {
    switch (step) {
      case Step::kStarted:
        started_ = good;
        if (!good) return finish();
        write_next();
        return read_next();
      case Step::kWritten:
        writing_ = false;
        return good ? write_next() : void();  // a read says what has happened
      case Step::kRead:
        reading_ = false;
        if (!good) return finish();
        if (const auto handler = handlers_.on_message) handler(to_bytes(incoming_));
        return read_next();
      case Step::kFinished: return finished();
      case Step::kWritesDone:
      case Step::kConnected: return;
    }
  }

 private:
  void write_next() {
    if (!started_ || finishing_ || writing_) return;
    if (!outgoing_.empty()) {
      writing_ = true;
      const grpc::ByteBuffer buffer = to_buffer(outgoing_.front());
      outgoing_.pop_front();
      stream_->Write(buffer, tag(Step::kWritten));
    } else if (std::exchange(half_close_, false)) {
      stream_->WritesDone(tag(Step::kWritesDone));
    }
  }

  void read_next() {
    if (!started_ || finishing_ || reading_ || !read_wanted_) return;
    read_wanted_ = false;
    reading_ = true;
    stream_->Read(&incoming_, tag(Step::kRead));
  }

  void finish() {
    if (std::exchange(finishing_, true)) return;
    stream_->Finish(&status_, tag(Step::kFinished));
  }

  void finished() {
    done_ = true;
    const auto handler = std::exchange(handlers_, {}).on_end;
    if (handler) handler(to_status(status_));
  }

  std::shared_ptr<Channel> channel_;
  RpcStreamHandlers handlers_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  std::deque<std::string> outgoing_;
  grpc::ByteBuffer incoming_;
  grpc::Status status_;
  bool started_ = false;
  bool writing_ = false;
  bool reading_ = false;
  bool read_wanted_ = false;
  bool half_close_ = false;
  bool finishing_ = false;
};

class StreamHandle final : public RpcStream {
 public:
  explicit StreamHandle(std::weak_ptr<StreamCall> call) : call_(std::move(call)) {}
  ~StreamHandle() override {
    if (const auto call = call_.lock()) call->abandon();
  }
  void send(std::string message) override {
    if (const auto call = call_.lock()) call->send(std::move(message));
  }
  void sends_done() override {
    if (const auto call = call_.lock()) call->sends_done();
  }
  void read() override {
    if (const auto call = call_.lock()) call->read();
  }

 private:
  std::weak_ptr<StreamCall> call_;
};

}  // namespace

Status require_tls_1_3() {
  if (::setenv("GRPC_SSL_CIPHER_SUITES", kOneOlderSuite, 1) == 0) return {};
  return fail_errno("set GRPC_SSL_CIPHER_SUITES");
}

GrpcTransport::GrpcTransport(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<GrpcTransport>> GrpcTransport::create(io::Loop& loop) {
  static std::once_flag once;
  std::call_once(once, [] { gpr_set_log_function(log_of_grpc); });
  auto state = std::make_shared<State>(loop);
  try {
    state->thread = std::thread(&State::work, state.get(), std::weak_ptr<State>(state));
  } catch (const std::exception& exception) {
    return fail(ErrorCode::kTransient, std::format("start the thread of the etcd client: {}", exception.what()));
  }
  return std::unique_ptr<GrpcTransport>(new GrpcTransport(std::move(state)));
}

GrpcTransport::~GrpcTransport() {
  state_->closing = true;
  for (const auto& [raw, operation] : state_->operations) operation->cancel();
  state_->queue.Shutdown();
  state_->thread.join();
  // What an answer holds may come back here: it finds nothing.
  auto operations = std::exchange(state_->operations, {});
  operations.clear();
}

Result<std::shared_ptr<Channel>> GrpcTransport::connect(const std::string& endpoint,
                                                        const std::optional<EtcdCredentials>& credentials) {
  PERDURE_ASSIGN(const EndpointParts parts, parse_endpoint(endpoint));
  if (parts.tls != credentials.has_value()) {
    return fail(ErrorCode::kInvalid, std::format("etcd endpoint '{}': {}", endpoint,
                                                 parts.tls ? "https needs a certificate and a key of ours"
                                                           : "certificates are given: use https"));
  }
  std::shared_ptr<grpc::ChannelCredentials> channel_credentials = grpc::InsecureChannelCredentials();
  if (credentials) {
    PERDURE_TRY(check_credentials(*credentials));
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = credentials->authority;
    options.pem_cert_chain = credentials->certificate;
    options.pem_private_key = credentials->key;
    channel_credentials = grpc::SslCredentials(options);
  }
  return std::make_shared<Channel>(endpoint,
                                   grpc::CreateCustomChannel(parts.target, channel_credentials, channel_arguments()));
}

const std::string& GrpcTransport::endpoint_of(const Channel& channel) { return channel.endpoint(); }

bool GrpcTransport::is_failing(const Channel& channel) {
  return channel.grpc().GetState(false) == GRPC_CHANNEL_TRANSIENT_FAILURE;
}

void GrpcTransport::call(RpcRequest request, std::function<void(RpcStatus, std::string)> done) {
  const auto call = std::make_shared<UnaryCall>(state_->queue, std::move(request), std::move(done));
  state_->operations.emplace(call.get(), call);
  call->start();
}

std::unique_ptr<RpcStream> GrpcTransport::open(RpcStreamRequest request, RpcStreamHandlers handlers) {
  const auto call = std::make_shared<StreamCall>(state_->queue, std::move(request), std::move(handlers));
  state_->operations.emplace(call.get(), call);
  call->start();
  return std::make_unique<StreamHandle>(call);
}

std::size_t GrpcTransport::calls_in_flight() const { return state_->operations.size(); }

}  // namespace perdure::coord
