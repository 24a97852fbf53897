// A watch that goes on: list, stream, and after an interruption the stream again from where it was, or the list if the store
// went back, is another one, or has forgotten what was missed.
#include <algorithm>
#include <format>
#include <map>
#include <utility>

#include "coord/etcd_messages.h"
#include "coord/etcd_subscriptions.h"

namespace perdure::coord {
namespace {

constexpr std::int64_t kManualProgress = -1;  // no watch's own; before 3.4.26 and 3.5.8 its revision may run ahead of events

class EtcdWatch final : public std::enable_shared_from_this<EtcdWatch> {
 public:
  EtcdWatch(EtcdCaller& caller, std::string prefix, WatchHandlers handlers)
      : caller_(caller), prefix_(std::move(prefix)), handlers_(std::move(handlers)) {}

  void begin() {
    moved_ = caller_.on_new_channels([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->move_over();
    });
    find_out();
  }

  // No handler is called any more.
  void end() {
    ended_ = true;
    moved_.reset();
    stream_.reset();
    silence_.reset();
    progress_.reset();
    retry_.reset();
  }

 private:
  Duration silence_limit() const { return caller_.options().watch_silence; }

  // New credentials or endpoints: not an interruption.
  void move_over() {
    if (!stream_) return;
    close_stream();
    find_out();
  }

  void close_stream() {
    stream_.reset();
    silence_.reset();
    progress_.reset();
    channel_.reset();
  }

  // Where the store stands: everything at the first time, else whether it is still the one that was watched.
  void find_out() {
    retry_.reset();
    const Instant deadline = BootClock::now() + silence_limit();
    const auto weak = weak_from_this();
    if (!known_) {
      list_prefix(caller_, prefix_, deadline, [weak](Result<Listing> listing) {
        const auto self = weak.lock();
        if (self && !self->ended_) self->take_listing(std::move(listing));
      });
      return;
    }
    etcdserverpb::RangeRequest request;
    request.set_key(prefix_);
    EtcdCall call{std::format("watch '{}'", prefix_), std::string(kRangeMethod), request.SerializeAsString()};
    call.deadline = deadline;
    caller_.call(std::move(call), [weak](Result<std::string> reply) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->take_position(std::move(reply));
    });
  }

  void take_listing(Result<Listing> listing) {
    if (!listing) return interrupted(listing.error());
    known_ = true;
    last_ = listing->snapshot.revision;
    cluster_id_ = listing->snapshot.cluster_id;
    raft_term_ = listing->raft_term;
    say_found();
    if (!ended_ && handlers_.on_snapshot) handlers_.on_snapshot(listing->snapshot);
    if (!ended_) open_stream();
  }

  void take_position(Result<std::string> reply) {
    if (!reply) return interrupted(reply.error());
    const auto response = parse_reply<etcdserverpb::RangeResponse>(*reply, "watch '" + prefix_ + "'");
    if (!response) return interrupted(response.error());
    const auto& header = response->header();
    if (header.cluster_id() != cluster_id_ || header.revision() < last_ || header.raft_term() < raft_term_) {
      known_ = false;
      return find_out();
    }
    raft_term_ = header.raft_term();
    open_stream();
  }

  void open_stream() {
    channel_ = caller_.best();
    const auto weak = weak_from_this();
    RpcStreamHandlers handlers;
    handlers.on_message = [weak](const std::string& bytes) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->take(bytes);
    };
    handlers.on_end = [weak](const RpcStatus& status) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->stream_ended(status);
    };
    stream_ = caller_.transport().open({channel_, std::string(kWatchMethod), std::nullopt}, std::move(handlers));
    etcdserverpb::WatchRequest request;
    auto* create = request.mutable_create_request();
    create->set_key(prefix_);
    create->set_range_end(prefix_end(prefix_));
    create->set_start_revision(last_ + 1);
    create->set_progress_notify(true);
    stream_->send(request.SerializeAsString());
    stream_->read();
    expect_life();
    ask_for_life();
  }

  void expect_life() {
    silence_ = caller_.loop().after(silence_limit(), [weak = weak_from_this()] {
      if (const auto self = weak.lock()) {
        self->stream_ended(RpcStatus{RpcCode::kDeadlineExceeded, "no sign of life", false});
      }
    });
  }

  void ask_for_life() {
    progress_ = caller_.loop().after(silence_limit() / 3, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self || !self->stream_) return;
      etcdserverpb::WatchRequest request;
      request.mutable_progress_request();
      self->stream_->send(request.SerializeAsString());
      self->ask_for_life();
    });
  }

  void take(const std::string& bytes) {
    auto response = parse_reply<etcdserverpb::WatchResponse>(bytes, "watch '" + prefix_ + "'");
    if (!response) return stream_ended(RpcStatus{RpcCode::kUnavailable, response.error().message(), false});
    expect_life();
    if (response->canceled()) return cancelled(*response);
    if (response->created()) {
      pause_ = Duration::zero();
      say_found();
      if (ended_) return;
    }
    const bool own_progress = !response->created() && response->events().empty() && response->watch_id() != kManualProgress;
    if (own_progress) last_ = std::max(last_, response->header().revision());
    for (const auto& [revision, changes] : to_changes(std::move(*response))) {
      if (revision <= last_) continue;
      last_ = revision;
      if (handlers_.on_changes) handlers_.on_changes(revision, changes);
      if (ended_) return;
    }
    if (stream_) stream_->read();
  }

  void cancelled(const etcdserverpb::WatchResponse& response) {
    if (response.compact_revision() > 0) {
      close_stream();
      known_ = false;
      return find_out();
    }
    stream_ended(RpcStatus{RpcCode::kUnavailable, response.cancel_reason(), false});
  }

  void stream_ended(const RpcStatus& status) {
    const std::string endpoint = GrpcTransport::endpoint_of(*channel_);
    caller_.avoid(channel_);
    close_stream();
    interrupted(to_error(status, std::format("watch '{}'", prefix_), endpoint));
  }

  void interrupted(const Error& error) {
    const auto& options = caller_.options();
    pause_ = pause_ == Duration::zero() ? options.retry_first : std::min(2 * pause_, options.retry_last);
    retry_ = caller_.loop().after(pause_, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->find_out();
    });
    if (std::exchange(lost_, true)) return;
    if (handlers_.on_lost) handlers_.on_lost(error);
  }

  void say_found() {
    if (std::exchange(lost_, false) && handlers_.on_found) handlers_.on_found();
  }

  EtcdCaller& caller_;
  const std::string prefix_;
  const WatchHandlers handlers_;
  bool ended_ = false;
  bool known_ = false;  // whether what follows describes what the handlers have been told
  bool lost_ = false;
  Revision last_ = 0;
  std::uint64_t cluster_id_ = 0;
  std::uint64_t raft_term_ = 0;
  Duration pause_{};
  std::shared_ptr<void> moved_;
  std::shared_ptr<Channel> channel_;
  std::unique_ptr<RpcStream> stream_;
  io::Timer silence_;
  io::Timer progress_;
  io::Timer retry_;
};

class WatchHandle final : public Subscription {
 public:
  explicit WatchHandle(std::shared_ptr<EtcdWatch> watch) : watch_(std::move(watch)) {}
  ~WatchHandle() override { watch_->end(); }

 private:
  std::shared_ptr<EtcdWatch> watch_;
};

}  // namespace

std::unique_ptr<Subscription> open_etcd_watch(EtcdCaller& caller, std::string prefix, WatchHandlers handlers) {
  auto watch = std::make_shared<EtcdWatch>(caller, std::move(prefix), std::move(handlers));
  watch->begin();
  return std::make_unique<WatchHandle>(std::move(watch));
}

}  // namespace perdure::coord
