#include "coord/etcd_caller.h"

#include <algorithm>
#include <format>
#include <map>
#include <utility>

namespace perdure::coord {
namespace {

// Answers that a member gives before it looks at a request (etcdserver/api/v3rpc/interceptor.go, rpctypes/error.go).
constexpr std::string_view kNoLeader = "etcdserver: no leader";
constexpr std::string_view kIsLearner = "etcdserver: rpc not supported for learner";
constexpr std::string_view kTooLarge = "request is too large";
constexpr Duration kLeastAttempt = std::chrono::milliseconds(1);

bool unseen(const RpcStatus& status) {
  return status.not_sent || status.message == kNoLeader || status.message == kIsLearner;
}

bool may_work_elsewhere(const RpcStatus& status) {
  return unseen(status) || status.code == RpcCode::kUnavailable || status.code == RpcCode::kDeadlineExceeded ||
         status.code == RpcCode::kCancelled;
}

bool is_handshake_failure(std::string_view message) {
  return message.find("andshake failed") != std::string_view::npos ||
         message.find("certificate") != std::string_view::npos;
}

}  // namespace

Error to_error(const RpcStatus& status, std::string_view what, std::string_view endpoint) {
  const auto make = [&](ErrorCode code, std::string_view text) {
    return Error(code, std::format("{} at etcd '{}': {}", what, endpoint, text));
  };
  switch (status.code) {
    case RpcCode::kDeadlineExceeded: return make(ErrorCode::kTimeout, "no answer in time");
    case RpcCode::kCancelled: return make(ErrorCode::kTransient, status.message);
    case RpcCode::kPermissionDenied:
    case RpcCode::kUnauthenticated: return make(ErrorCode::kPermission, status.message);
    case RpcCode::kInvalidArgument: return make(ErrorCode::kInvalid, status.message);
    case RpcCode::kUnavailable:
      return make(is_handshake_failure(status.message) ? ErrorCode::kPermission : ErrorCode::kTransient, status.message);
    case RpcCode::kResourceExhausted:
      if (status.message.find(kTooLarge) != std::string::npos) return make(ErrorCode::kInvalid, status.message);
      return make(ErrorCode::kIo, status.message);
    default: return make(ErrorCode::kIo, status.message);
  }
}

struct EtcdCaller::State {
  State(io::Loop& loop_, EtcdClientOptions options_) : loop(loop_), options(std::move(options_)) {}

  struct Endpoint {
    std::shared_ptr<Channel> channel;
    Instant avoid_until{};
  };

  io::Loop& loop;
  EtcdClientOptions options;
  std::unique_ptr<GrpcTransport> transport;
  std::vector<Endpoint> endpoints;
  std::map<std::uint64_t, std::shared_ptr<Walk>> walks;
  std::map<std::uint64_t, std::shared_ptr<Volley>> volleys;
  std::map<std::uint64_t, std::function<void()>> listeners;
  std::uint64_t next_id = 1;

  // The preferred ones first; those that failed lately after them.
  std::vector<std::shared_ptr<Channel>> order() const {
    const Instant now = BootClock::now();
    std::vector<std::shared_ptr<Channel>> good;
    std::vector<std::shared_ptr<Channel>> bad;
    for (const Endpoint& endpoint : endpoints) {
      const bool avoided = endpoint.avoid_until > now || GrpcTransport::is_failing(*endpoint.channel);
      (avoided ? bad : good).push_back(endpoint.channel);
    }
    good.insert(good.end(), bad.begin(), bad.end());
    return good;
  }

  void avoid(const std::shared_ptr<Channel>& channel) {
    for (Endpoint& endpoint : endpoints) {
      if (endpoint.channel == channel) endpoint.avoid_until = BootClock::now() + options.avoid_time;
    }
  }

  Result<std::vector<Endpoint>> connect_all(const std::vector<std::string>& names,
                                            const std::optional<EtcdCredentials>& credentials) const {
    if (names.empty() || names.size() > kMaxEndpoints) {
      return fail(ErrorCode::kInvalid, std::format("{} etcd endpoints: name 1 to {}", names.size(), kMaxEndpoints));
    }
    std::vector<Endpoint> made;
    for (const std::string& name : names) {
      PERDURE_ASSIGN(auto channel, transport->connect(name, credentials));
      made.push_back(Endpoint{std::move(channel)});
    }
    return made;
  }
};

// One call on its way round the endpoints.
class EtcdCaller::Walk : public std::enable_shared_from_this<Walk> {
 public:
  using Done = std::function<void(Result<std::string>)>;
  Walk(std::weak_ptr<State> state, std::uint64_t id, EtcdCall call, Done done)
      : state_(std::move(state)), id_(id), call_(std::move(call)), done_(std::move(done)) {}

  void begin_round() {
    const auto state = state_.lock();
    if (!state) return;
    order_ = state->order();
    at_ = 0;
    attempt(*state);
  }

 private:
  void attempt(State& state) {
    const Instant now = BootClock::now();
    const bool last = at_ + 1 == order_.size();
    const Instant share = std::min(call_.deadline, now + state.options.endpoint_time);
    RpcRequest request;
    request.channel = order_[at_];
    request.method = call_.method;
    request.message = call_.message;
    request.connect_until = share;
    request.deadline = call_.resend == Resend::kAllowed && !last ? share : call_.deadline;
    request.leader = call_.leader;
    state.transport->call(std::move(request), [self = shared_from_this()](RpcStatus status, std::string reply) {
      self->finished(std::move(status), std::move(reply));
    });
  }

  void finished(RpcStatus status, std::string reply) {
    const auto state = state_.lock();
    if (!state) return;
    if (status.ok()) return answer(*state, std::move(reply));
    const bool again = call_.resend == Resend::kAllowed ? may_work_elsewhere(status) : unseen(status);
    const std::string& endpoint = GrpcTransport::endpoint_of(*order_[at_]);
    if (!again) return answer(*state, fail(to_error(status, call_.what, endpoint)));
    state->avoid(order_[at_]);
    // The first endpoint's reason is the one to tell: it is the preferred one.
    if (!error_ || at_ == 0) error_ = to_error(status, call_.what, endpoint);
    ++at_;
    if (BootClock::now() + kLeastAttempt >= call_.deadline) return answer(*state, fail(std::move(*error_)));
    if (at_ < order_.size()) return attempt(*state);
    pause_ = pause_ == Duration::zero() ? state->options.retry_first : std::min(2 * pause_, state->options.retry_last);
    if (BootClock::now() + pause_ >= call_.deadline) {
      timer_ = state->loop.at(call_.deadline, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->give_up();
      });
    } else {
      timer_ = state->loop.after(pause_, [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->begin_round();
      });
    }
  }

  void give_up() {
    if (const auto state = state_.lock()) answer(*state, fail(std::move(*error_)));
  }

  void answer(State& state, Result<std::string> result) {
    const auto self = shared_from_this();
    state.walks.erase(id_);
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
  }

  std::weak_ptr<State> state_;
  std::uint64_t id_;
  EtcdCall call_;
  Done done_;
  std::vector<std::shared_ptr<Channel>> order_;
  std::size_t at_ = 0;
  std::optional<Error> error_;
  Duration pause_{};
  io::Timer timer_;
};

// One call that several members have at a time.
class EtcdCaller::Volley : public std::enable_shared_from_this<Volley> {
 public:
  using Done = std::function<void(Result<std::string>)>;
  Volley(State& state, std::uint64_t id, EtcdCall call, Done done)
      : state_(state), id_(id), call_(std::move(call)), done_(std::move(done)), steady_until_(BootClock::now() + state.options.repeat_steady) {}

  void send() {
    const Instant now = BootClock::now();
    if (copies_ > 0 && now >= call_.deadline) return give_up();  // not before the caller has gone on
    // Others' first attempts go before this one's next.
    if (copies_ == 0 || state_.transport->calls_in_flight() < kMaxCallsInFlight / 2) send_copy();
    if (copies_ > 1 && now >= steady_until_) pause_ *= 2;
    timer_ = state_.loop.at(std::min(now + pause_, call_.deadline), [this] { send(); });
  }

 private:
  void send_copy() {
    const auto order = state_.order();
    const auto channel = order[copies_++ % order.size()];
    const Instant share = std::min(call_.deadline, BootClock::now() + state_.options.endpoint_time);
    RpcRequest request{channel, call_.method, call_.message, share, call_.deadline, call_.leader};
    state_.transport->call(std::move(request), [weak = weak_from_this(), channel](RpcStatus status, std::string reply) {
      if (const auto self = weak.lock()) self->finished(channel, status, std::move(reply));
    });
  }

  void finished(const std::shared_ptr<Channel>& channel, const RpcStatus& status, std::string reply) {
    if (status.ok()) return answer(std::move(reply));
    Error error = to_error(status, call_.what, GrpcTransport::endpoint_of(*channel));
    if (!may_work_elsewhere(status)) return answer(fail(std::move(error)));
    state_.avoid(channel);
    // The newest reason of the preferred endpoint is the one to tell; that the time is over says less than any.
    const bool tells = channel == state_.endpoints.front().channel && status.code != RpcCode::kDeadlineExceeded;
    if (!error_ || tells) error_ = std::move(error);
  }

  void give_up() {
    answer(fail(error_ ? std::move(*error_) : Error(ErrorCode::kTimeout, std::format("{}: no answer from etcd in time", call_.what))));
  }

  void answer(Result<std::string> result) {
    const auto self = state_.volleys.extract(id_);
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(result));
  }

  State& state_;  // which holds this one
  const std::uint64_t id_;
  const EtcdCall call_;
  Done done_;
  const Instant steady_until_;
  Duration pause_ = state_.options.repeat_pause;
  std::size_t copies_ = 0;
  std::optional<Error> error_;
  io::Timer timer_;
};

EtcdCaller::EtcdCaller(std::shared_ptr<State> state) : state_(std::move(state)) {}

EtcdCaller::~EtcdCaller() {
  state_->transport.reset();
  const auto walks = std::exchange(state_->walks, {});
  const auto volleys = std::exchange(state_->volleys, {});
}

Result<std::unique_ptr<EtcdCaller>> EtcdCaller::create(io::Loop& loop, EtcdClientOptions options) {
  auto state = std::make_shared<State>(loop, std::move(options));
  PERDURE_ASSIGN(state->transport, GrpcTransport::create(loop));
  PERDURE_ASSIGN(state->endpoints, state->connect_all(state->options.endpoints, state->options.credentials));
  return std::unique_ptr<EtcdCaller>(new EtcdCaller(std::move(state)));
}

void EtcdCaller::call(EtcdCall call, std::function<void(Result<std::string>)> done) {
  State& state = *state_;
  const std::uint64_t id = state.next_id++;
  if (state.transport->calls_in_flight() >= kMaxCallsInFlight) {
    Error error(ErrorCode::kTransient, std::format("{}: {} calls to etcd wait already", call.what, kMaxCallsInFlight));
    state.loop.post([weak = std::weak_ptr(state_), done = std::move(done), error = std::move(error)]() mutable {
      if (!weak.expired()) done(fail(std::move(error)));
    });
    return;
  }
  if (call.resend == Resend::kRepeated) {
    const auto volley = std::make_shared<Volley>(state, id, std::move(call), std::move(done));
    state.volleys.emplace(id, volley);
    return volley->send();
  }
  const auto walk = std::make_shared<Walk>(state_, id, std::move(call), std::move(done));
  state.walks.emplace(id, walk);
  walk->begin_round();
}

void EtcdCaller::call_endpoint(const std::string& endpoint, EtcdCall call,
                               std::function<void(Result<std::string>)> done) {
  std::shared_ptr<Channel> channel;
  for (const State::Endpoint& ours : state_->endpoints) {
    if (GrpcTransport::endpoint_of(*ours.channel) == endpoint) channel = ours.channel;
  }
  if (!channel) {
    auto made = state_->transport->connect(endpoint, state_->options.credentials);
    if (!made) {
      state_->loop.post([weak = std::weak_ptr(state_), done = std::move(done), error = made.error()]() mutable {
        if (!weak.expired()) done(fail(std::move(error)));
      });
      return;
    }
    channel = std::move(*made);
  }
  RpcRequest request{channel, std::move(call.method), std::move(call.message), call.deadline, call.deadline, call.leader};
  state_->transport->call(std::move(request), [what = std::move(call.what), endpoint, done = std::move(done)](
                                                  RpcStatus status, std::string reply) {
    if (!status.ok()) return done(fail(to_error(status, what, endpoint)));
    done(std::move(reply));
  });
}

std::shared_ptr<Channel> EtcdCaller::best() const { return state_->order().front(); }
void EtcdCaller::avoid(const std::shared_ptr<Channel>& channel) { state_->avoid(channel); }

Status EtcdCaller::use(std::vector<std::string> endpoints, std::optional<EtcdCredentials> credentials) {
  PERDURE_ASSIGN(state_->endpoints, state_->connect_all(endpoints, credentials));
  state_->options.endpoints = std::move(endpoints);
  state_->options.credentials = std::move(credentials);
  for (const auto& [id, listener] : std::map(state_->listeners)) {
    if (state_->listeners.contains(id)) listener();
  }
  return {};
}

std::shared_ptr<void> EtcdCaller::on_new_channels(std::function<void()> fn) {
  const std::uint64_t id = state_->next_id++;
  state_->listeners.emplace(id, std::move(fn));
  return std::shared_ptr<void>(nullptr, [weak = std::weak_ptr(state_), id](void*) {
    if (const auto state = weak.lock()) state->listeners.erase(id);
  });
}

const EtcdClientOptions& EtcdCaller::options() const { return state_->options; }
io::Loop& EtcdCaller::loop() { return state_->loop; }
GrpcTransport& EtcdCaller::transport() { return *state_->transport; }

}  // namespace perdure::coord
