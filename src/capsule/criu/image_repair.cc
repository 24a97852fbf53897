#include "capsule/criu/image_repair.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <format>
#include <optional>

#include "capsule/criu/image_file.h"
#include "capsule/criu/task_repair.h"
#include "capsule/criu/tcp_images.h"
#include "criu_images.pb.h"

namespace perdure::capsule {
namespace {

// Silent for ever: a period, nothing left until the next expiry.
bool is_stalled(const criu::TimerfdEntry& timer) {
  return (timer.isec() != 0 || timer.insec() != 0) && timer.vsec() == 0 && timer.vnsec() == 0 &&
         timer.ticks() != 0;
}

// Mends the entries of one image in place. `mend` returns whether it changed the entry.
template <typename Entry, typename Mend>
Result<std::size_t> mend_entries(Image& image, std::uint32_t magic, Mend mend) {
  PERDURE_ASSIGN(const ImageEntries parts, split_image(image.name, image.bytes, magic));
  std::string repaired(parts.header);
  std::size_t count = 0;
  for (const std::string_view bytes : parts.entries) {
    Entry entry;
    if (!parse_message(bytes, entry)) {
      return fail(ErrorCode::kCorrupt, std::format("CRIU image '{}': entry cannot be parsed", image.name));
    }
    if (mend(entry)) {
      append_image_entry(repaired, entry.SerializeAsString());
      ++count;
    } else {
      append_image_entry(repaired, bytes);
    }
  }
  if (count > 0) image.bytes = std::move(repaired);
  return count;
}

bool mend_timerfd(criu::FileEntry& entry) {
  if (!entry.has_tfd() || !is_stalled(entry.tfd())) return false;
  entry.mutable_tfd()->set_vnsec(1);
  return true;
}

// CRIU arms the timers and then keeps each process stopped until all are complete: one or two milliseconds for
// each, more on a busy host.
std::chrono::microseconds soonest_expiry(std::size_t processes) {
  constexpr std::chrono::milliseconds kForTheFirst{20};
  constexpr std::chrono::milliseconds kForEach{5};
  constexpr std::size_t kMost = 100;
  return kForTheFirst + kForEach * static_cast<int>(std::min(processes, kMost));
}

// "core-17.img" -> 17
std::optional<pid_t> pid_of_core(std::string_view name) {
  constexpr std::string_view kPrefix = "core-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  pid_t pid = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, pid);
  if (error != std::errc() || std::string_view(stop, end) != ".img") return std::nullopt;
  return pid;
}

}  // namespace

Result<Repairs> repair_images(std::vector<Image>& images, const PendingSignals& pending,
                              std::chrono::microseconds until) {
  Repairs repairs;
  PERDURE_ASSIGN(repairs.entries, drop_windows_of_begun(images));
  const auto soonest = soonest_expiry(pending.size());
  for (Image& image : images) {
    Result<std::size_t> mended = std::size_t{0};
    if (image.name == "files.img") mended = mend_entries<criu::FileEntry>(image, kFilesMagic, mend_timerfd);
    if (const auto pid = pid_of_core(image.name)) {
      const auto found = pending.find(*pid);
      const std::uint64_t signals = found == pending.end() ? 0 : found->second;
      mended = mend_entries<criu::CoreEntry>(image, kCoreMagic, [&](criu::CoreEntry& core) {
        if (found != pending.end() && waits_past_its_signal(core, signals, until)) repairs.interrupted.push_back(*pid);
        return mend_task(core, signals, soonest);
      });
    }
    PERDURE_ASSIGN(const std::size_t in_this_one, std::move(mended));
    repairs.entries += in_this_one;
  }
  return repairs;
}

}  // namespace perdure::capsule
