#include <format>
#include <utility>

#include "coord/etcd_messages.h"
#include "coord/etcd_subscriptions.h"

namespace perdure::coord {
namespace {

// A page of the largest values fits into one answer (kMaxReceivedBytes of the transport).
constexpr std::int64_t kPageKeys = 64;
// Compacted between two pages: begin again, but not for ever.
constexpr int kMaxAttempts = 4;

class ListJob : public std::enable_shared_from_this<ListJob> {
 public:
  using Done = std::function<void(Result<Listing>)>;
  ListJob(EtcdCaller& caller, std::string prefix, Instant deadline, Done done)
      : caller_(caller), prefix_(std::move(prefix)), deadline_(deadline), done_(std::move(done)) {}

  void begin() {
    listing_ = {};
    bytes_ = 0;
    next_key_ = prefix_;
    ask();
  }

 private:
  void ask() {
    etcdserverpb::RangeRequest request;
    request.set_key(next_key_);
    request.set_range_end(prefix_end(prefix_));
    request.set_limit(kPageKeys);
    request.set_revision(listing_.snapshot.revision);  // 0: the newest
    EtcdCall call{std::format("list '{}'", prefix_), std::string(kRangeMethod), request.SerializeAsString()};
    call.deadline = deadline_;
    caller_.call(std::move(call), [self = shared_from_this()](Result<std::string> reply) { self->take(std::move(reply)); });
  }

  void take(Result<std::string> reply) {
    if (!reply) {
      const bool compacted = reply.error().message().find("has been compacted") != std::string::npos;
      if (compacted && ++attempts_ < kMaxAttempts) return begin();
      return done_(fail(std::move(reply.error())));
    }
    auto page = parse_reply<etcdserverpb::RangeResponse>(*reply, "list '" + prefix_ + "'");
    if (!page) return done_(fail(page.error()));
    if (listing_.snapshot.revision == 0) {
      listing_.snapshot.revision = page->header().revision();
      listing_.snapshot.cluster_id = page->header().cluster_id();
      listing_.raft_term = page->header().raft_term();
    }
    bytes_ += reply->size();
    if (bytes_ > kMaxListBytes) {
      return done_(fail(ErrorCode::kInvalid, std::format("list '{}': more than {} bytes", prefix_, kMaxListBytes)));
    }
    for (auto& pair : *page->mutable_kvs()) listing_.snapshot.values.push_back(to_value(std::move(pair)));
    if (!page->more() || page->kvs().empty()) return done_(std::move(listing_));
    next_key_ = listing_.snapshot.values.back().key + '\0';
    ask();
  }

  EtcdCaller& caller_;
  std::string prefix_;
  Instant deadline_;
  Done done_;
  Listing listing_;
  std::string next_key_;
  std::size_t bytes_ = 0;
  int attempts_ = 0;
};

}  // namespace

void list_prefix(EtcdCaller& caller, std::string prefix, Instant deadline, std::function<void(Result<Listing>)> done) {
  std::make_shared<ListJob>(caller, std::move(prefix), deadline, std::move(done))->begin();
}

}  // namespace perdure::coord
