// A lease that is granted once, renewed by a short exchange each third of its life, and given up when that life has passed since the
// last renewal was sent.
#include <algorithm>
#include <charconv>
#include <format>
#include <utility>

#include "coord/etcd_messages.h"
#include "coord/etcd_subscriptions.h"

namespace perdure::coord {
namespace {

class EtcdLease final : public std::enable_shared_from_this<EtcdLease> {
 public:
  EtcdLease(EtcdCaller& caller, std::chrono::seconds time_to_live, Coordination::LeaseHandlers handlers)
      : caller_(caller), life_(time_to_live), handlers_(std::move(handlers)) {}

  void ask() {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(std::chrono::duration_cast<std::chrono::seconds>(life_).count());
    EtcdCall call{"grant a lease", std::string(kLeaseGrantMethod), request.SerializeAsString()};
    sent_ = BootClock::now();
    call.deadline = sent_ + life_;
    // Sent twice it makes two leases; the one that nobody renews ends by itself.
    caller_.call(std::move(call), [weak = weak_from_this()](Result<std::string> reply) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->take_grant(std::move(reply));
    });
  }

  void end() {
    ended_ = true;
    timer_.reset();
    stream_.reset();
  }

 private:
  void take_grant(Result<std::string> reply) {
    auto response = reply.and_then([](const std::string& bytes) {
      return parse_reply<etcdserverpb::LeaseGrantResponse>(bytes, "grant a lease");
    });
    if (!response || response->id() == 0) return later(next_pause(), &EtcdLease::ask);
    pause_ = Duration::zero();
    id_ = response->id();
    granted_ = std::chrono::seconds(response->ttl());
    good_until_ = sent_ + granted_;
    later(granted_ / 3, &EtcdLease::renew);
    if (handlers_.on_granted) handlers_.on_granted(id_);
  }

  void renew() {
    if (BootClock::now() >= good_until_) {
      return lose(Error(ErrorCode::kTimeout, std::format("lease {:x}: not renewed in time", id_)));
    }
    channel_ = caller_.best();
    sent_ = BootClock::now();
    const auto weak = weak_from_this();
    RpcStreamHandlers handlers;
    handlers.on_message = [weak](const std::string& bytes) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->take_renewal(bytes);
    };
    handlers.on_end = [weak](const RpcStatus&) {
      const auto self = weak.lock();
      if (self && !self->ended_) self->renewal_failed();
    };
    const Instant deadline = std::min(good_until_, sent_ + std::max(granted_ / 3, caller_.options().endpoint_time));
    stream_ = caller_.transport().open({channel_, std::string(kLeaseKeepAliveMethod), deadline}, std::move(handlers));
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(id_);
    stream_->send(request.SerializeAsString());
    stream_->read();
  }

  void take_renewal(const std::string& bytes) {
    const auto response = parse_reply<etcdserverpb::LeaseKeepAliveResponse>(bytes, "renew a lease");
    stream_.reset();
    if (!response) return renewal_failed();
    if (response->ttl() <= 0) return lose(Error(ErrorCode::kTimeout, std::format("lease {:x}: it has expired", id_)));
    pause_ = Duration::zero();
    good_until_ = sent_ + std::chrono::seconds(response->ttl());
    later(granted_ / 3, &EtcdLease::renew);
  }

  void renewal_failed() {
    stream_.reset();
    caller_.avoid(channel_);
    later(std::min(next_pause(), std::max(good_until_ - BootClock::now(), Duration::zero())), &EtcdLease::renew);
  }

  void lose(const Error& error) {
    const auto self = shared_from_this();
    end();
    if (handlers_.on_lost) handlers_.on_lost(error);
  }

  void later(Duration pause, void (EtcdLease::*step)()) {
    timer_ = caller_.loop().after(pause, [weak = weak_from_this(), step] {
      if (const auto self = weak.lock()) (self.get()->*step)();
    });
  }

  Duration next_pause() {
    const auto& options = caller_.options();
    pause_ = pause_ == Duration::zero() ? options.retry_first : std::min(2 * pause_, options.retry_last);
    return pause_;
  }

  EtcdCaller& caller_;
  const Duration life_;
  const Coordination::LeaseHandlers handlers_;
  bool ended_ = false;
  LeaseId id_ = 0;
  Duration granted_{};
  Instant sent_{};
  Instant good_until_{};
  Duration pause_{};
  std::shared_ptr<Channel> channel_;
  std::unique_ptr<RpcStream> stream_;
  io::Timer timer_;
};

class LeaseHandle final : public Subscription {
 public:
  explicit LeaseHandle(std::shared_ptr<EtcdLease> lease) : lease_(std::move(lease)) {}
  ~LeaseHandle() override { lease_->end(); }

 private:
  std::shared_ptr<EtcdLease> lease_;
};

}  // namespace

std::unique_ptr<Subscription> keep_etcd_lease(EtcdCaller& caller, std::chrono::seconds time_to_live,
                                              Coordination::LeaseHandlers handlers) {
  auto lease = std::make_shared<EtcdLease>(caller, time_to_live, std::move(handlers));
  lease->ask();
  return std::make_unique<LeaseHandle>(std::move(lease));
}

}  // namespace perdure::coord
