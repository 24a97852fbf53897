#include "node/cluster/image_exchange.h"

#include <algorithm>
#include <format>
#include <utility>

#include "base/log.h"
#include "image/archive.h"
#include "image/image.h"

namespace perdure::node {
namespace {

namespace p1 = peer::v1;

constexpr Duration kChunkTime = std::chrono::minutes(2);  // a slow disk at the other end

}  // namespace

// An archive that is given away, one piece per request.
struct ImageExchange::Giving {
  std::string digest;
  std::shared_ptr<image::Packer> packer;
  Instant used{};
  bool busy = false;
};

struct ImageExchange::Fetching {
  std::vector<NodeName> sources;  // those not asked yet, the next one last
  std::optional<NodeName> source;
  std::uint64_t transfer = 0;
  std::shared_ptr<image::Unpacker> unpacker;
  std::string refusals;
  std::vector<std::function<void(Status)>> waiting;
};

ImageExchange::ImageExchange(io::Loop& loop, io::Pool& pool, Peers& peers, std::string images_dir, Duration idle)
    : loop_(loop), pool_(pool), peers_(peers), images_dir_(std::move(images_dir)), idle_(idle) {
  forget_idle();
}

ImageExchange::~ImageExchange() = default;

void ImageExchange::serve(PeerRequestTable& table) {
  table[p1::Message::kFetchImage] = [this](PeerRequest request) { on_fetch(std::move(request)); };
}

std::size_t ImageExchange::open_transfers() const { return giving_.size() + fetching_.size(); }

// ---- Giving ----

std::set<std::string> ImageExchange::open_images() const {
  std::set<std::string> images;
  for (const auto& [transfer, giving] : giving_) images.insert(giving->digest);
  for (const auto& [digest, fetching] : fetching_) images.insert(digest);
  return images;
}

void ImageExchange::forget_idle() {
  idle_timer_ = loop_.after(idle_, [this] { forget_idle(); });
  std::erase_if(giving_, [this](const auto& entry) {
    return !entry.second->busy && BootClock::now() - entry.second->used > idle_;
  });
}

void ImageExchange::on_fetch(PeerRequest request) {
  if (!request.respond) return;
  const p1::FetchImage& fetch = request.content.message.fetch_image();
  if (fetch.transfer() != 0) return give_next(fetch.transfer(), request.respond);
  if (giving_.size() >= kMaxImageTransfers) {
    return request.respond->refuse(Error(ErrorCode::kTimeout, "too many root file systems are being fetched from this node"));
  }
  const std::uint64_t transfer = next_transfer_++;
  giving_[transfer] = std::make_unique<Giving>();
  giving_[transfer]->digest = fetch.digest();
  giving_[transfer]->busy = true;
  const std::optional<std::string> in_place = find_in_place ? find_in_place(fetch.digest()) : std::nullopt;
  auto work = [images_dir = images_dir_, digest = fetch.digest(), in_place]() -> Result<std::shared_ptr<image::Packer>> {
    image::PreparedImage image{.digest = digest, .lower_dir = in_place.value_or(""), .defaults = {}, .tree_digest = digest};
    if (!in_place) {
      PERDURE_ASSIGN(image, image::find_prepared(images_dir, digest));
    }
    PERDURE_ASSIGN(auto packer, image::Packer::open(image));
    return std::shared_ptr<image::Packer>(std::move(packer));
  };
  auto done = [this, transfer, respond = request.respond](Result<std::shared_ptr<image::Packer>> packer) {
    const auto found = giving_.find(transfer);
    if (found == giving_.end()) return;
    found->second->busy = false;
    if (!packer) {
      giving_.erase(found);
      return respond->refuse(packer.error());
    }
    found->second->packer = *std::move(packer);
    give_next(transfer, respond);
  };
  if (!pool_.submit(loop_, lifetime_, std::move(work), std::move(done))) {
    giving_.erase(transfer);
    request.respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
  }
}

void ImageExchange::give_next(std::uint64_t transfer, ResponderRef respond) {
  const auto found = giving_.find(transfer);
  if (found == giving_.end() || found->second->busy || !found->second->packer) {
    return respond->refuse(Error(ErrorCode::kNotFound, "this transfer has ended; begin anew"));
  }
  found->second->busy = true;
  struct Chunk {
    std::shared_ptr<capsule::Slab> slab;
    std::size_t size = 0;
    bool last = false;
  };
  auto work = [packer = found->second->packer]() -> Result<Chunk> {
    Chunk chunk;
    PERDURE_ASSIGN(chunk.slab, capsule::Slab::allocate(kImageChunkBytes, capsule::Slab::Prefault::kNo));
    PERDURE_ASSIGN(chunk.size, packer->read(chunk.slab->writable()));
    chunk.last = packer->finished();
    return chunk;
  };
  auto done = [this, transfer, respond](Result<Chunk> chunk) {
    const auto giving = giving_.find(transfer);
    if (giving == giving_.end()) return;
    giving->second->busy = false;
    giving->second->used = BootClock::now();
    if (!chunk) {
      giving_.erase(giving);
      return respond->refuse(chunk.error());
    }
    p1::Message message;
    message.mutable_image_chunk()->set_transfer(transfer);
    message.mutable_image_chunk()->set_last(chunk->last);
    io::OutgoingBody body;
    body.pieces = {chunk->slab->bytes().first(chunk->size)};
    body.owners = {chunk->slab};
    if (chunk->last) giving_.erase(giving);
    respond->answer(std::move(message), std::move(body));
  };
  if (!pool_.submit(loop_, lifetime_, std::move(work), std::move(done))) {
    found->second->busy = false;
    respond->refuse(Error(ErrorCode::kTimeout, "this node is busy"));
  }
}

// ---- Fetching ----

void ImageExchange::fetch(const std::string& digest, std::vector<NodeName> sources, std::function<void(Status)> done) {
  if (const auto under_way = fetching_.find(digest); under_way != fetching_.end()) {
    Fetching& fetching = *under_way->second;
    for (NodeName& source : sources) {
      const bool known = source == fetching.source || std::ranges::contains(fetching.sources, source);
      if (!known) fetching.sources.insert(fetching.sources.begin(), std::move(source));
    }
    fetching.waiting.push_back(std::move(done));
    return;
  }
  auto& fetching = fetching_[digest] = std::make_unique<Fetching>();
  std::ranges::reverse(sources);
  fetching->sources = std::move(sources);
  fetching->waiting.push_back(std::move(done));
  const bool in_place = find_in_place && find_in_place(digest).has_value();
  auto work = [images_dir = images_dir_, digest, in_place]() -> Status {
    return in_place ? Status{} : image::find_prepared(images_dir, digest).transform([](auto&&) {});
  };
  auto looked = [this, digest](const Status& here) {
    if (here) return finished(digest, here);
    if (here.error().code() != ErrorCode::kNotFound) return finished(digest, here);
    ask(digest);
  };
  if (Status submitted = pool_.submit(loop_, lifetime_, std::move(work), std::move(looked)); !submitted) {
    finished(digest, submitted);
  }
}

void ImageExchange::finished(const std::string& digest, const Status& status) {
  auto node = fetching_.extract(digest);
  if (node.empty()) return;
  for (const auto& waiting : node.mapped()->waiting) waiting(status);
}

void ImageExchange::ask(const std::string& digest) {
  Fetching& fetching = *fetching_.at(digest);
  if (!fetching.source) {
    if (fetching.sources.empty()) {
      return finished(digest, fail(ErrorCode::kNotFound,
                                   std::format("no node gives root file system {}{}{}", digest,
                                               fetching.refusals.empty() ? "" : ": ", fetching.refusals)));
    }
    fetching.source = fetching.sources.back();
    fetching.sources.pop_back();
    fetching.transfer = 0;
    fetching.unpacker.reset();
  }
  p1::Message message;
  message.mutable_fetch_image()->set_digest(digest);
  message.mutable_fetch_image()->set_transfer(fetching.transfer);
  const auto next_source = [this, digest](const Error& error) {
    const auto found = fetching_.find(digest);
    if (found == fetching_.end()) return;
    std::string& refusals = found->second->refusals;
    refusals += std::format("{}{}: {}", refusals.empty() ? "" : "; ", found->second->source->str(), error.message());
    found->second->source.reset();
    ask(digest);
  };
  peers_.request(
      *fetching.source, Channel::kBulk, std::move(message), {}, kChunkTime,
      [this, token = lifetime_.token(), digest, next_source](std::expected<PeerMessage, PeerRefusal> answer) {
        if (!token.alive() || !fetching_.contains(digest)) return;
        if (!answer) return next_source(answer.error().error);
        if (!answer->message.has_image_chunk() || !answer->body) {
          return next_source(Error(ErrorCode::kInvalid, "its answer cannot be read"));
        }
        Fetching& found = *fetching_.at(digest);
        found.transfer = answer->message.image_chunk().transfer();
        auto work = [images_dir = images_dir_, digest, unpacker = found.unpacker, body = answer->body,
                     last = answer->message.image_chunk().last()]() mutable -> Result<std::shared_ptr<image::Unpacker>> {
          if (!unpacker) {
            PERDURE_ASSIGN(auto begun, image::Unpacker::begin(images_dir, digest));
            unpacker = std::move(begun);
          }
          PERDURE_TRY(unpacker->feed(body->bytes()));
          if (last) PERDURE_TRY(unpacker->finish().transform([](auto&&) {}));
          return unpacker;
        };
        auto done = [this, digest, next_source,
                     last = answer->message.image_chunk().last()](Result<std::shared_ptr<image::Unpacker>> fed) {
          const auto fetching_now = fetching_.find(digest);
          if (fetching_now == fetching_.end()) return;
          if (!fed) return next_source(fed.error());
          fetching_now->second->unpacker = *std::move(fed);
          if (last) return finished(digest, {});
          ask(digest);
        };
        if (Status submitted = pool_.submit(loop_, lifetime_, std::move(work), std::move(done)); !submitted) {
          next_source(submitted.error());
        }
      });
}

}  // namespace perdure::node
