#include "node/image_collector.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "image/image_store.h"

namespace perdure::node {
namespace {

constexpr int kLooksInALife = 4;
constexpr Duration kShortestPause = std::chrono::milliseconds(50);
constexpr Duration kLongestPause = std::chrono::hours(1);

}  // namespace

ImageCollector::ImageCollector(ImageCollectorOptions options, std::function<Digests()> in_use)
    : options_(std::move(options)), in_use_(std::move(in_use)) {
  look_later();
}

void ImageCollector::look_later() {
  const Duration pause = std::clamp(options_.life / kLooksInALife, kShortestPause, kLongestPause);
  timer_ = options_.loop.after(pause, [this] { look(); });
}

void ImageCollector::look() {
  auto work = [directory = options_.images_dir]() -> Result<Digests> {
    PERDURE_ASSIGN(const auto images, image::list_prepared(directory));
    Digests here;
    for (const image::PreparedImage& one : images) here.insert(one.digest);
    return here;
  };
  const Status submitted = options_.pool.submit(options_.loop, lifetime_, std::move(work), [this](const Result<Digests>& here) {
    if (here) return listed(*here);
    log::warning("unused images stay: {}", here.error().message());
    look_later();
  });
  if (!submitted) look_later();
}

void ImageCollector::listed(const Digests& here) {
  const Digests used = in_use_();
  const Instant now = options_.clock.now();
  std::erase_if(unused_since_, [&](const auto& entry) { return used.contains(entry.first) || !here.contains(entry.first); });
  Digests kept = used;
  for (const std::string& digest : here) {
    if (used.contains(digest)) continue;
    const Instant since = unused_since_.try_emplace(digest, now).first->second;
    if (now - since < options_.life) kept.insert(digest);
  }
  if (std::ranges::includes(kept, here)) return look_later();
  const Status submitted = options_.pool.submit(
      options_.loop, lifetime_, [directory = options_.images_dir, kept] { return image::remove_unused(directory, kept); },
      [this](const Result<image::RemovedImages>& removed) {
        if (!removed) log::warning("unused images stay: {}", removed.error().message());
        if (removed && !removed->digests.empty()) {
          log::info("{} images that no container has needed for {} are removed: {}", removed->digests.size(),
                    format_duration(options_.life), format_bytes(removed->freed));
        }
        look_later();
      });
  if (!submitted) look_later();
}

}  // namespace perdure::node
