// For tests of shared storage: writes generations into a directory of it, one after the other, while another thread ticks every
// 10 ms and never touches the directory, as the one that sends heartbeats does. Or loads what was written before.
//
//   perdure_store_writer write DIRECTORY   until standard input ends; a line per generation: "put N MICROSECONDS TICKS" or
//                                          "failed N MICROSECONDS TICKS WHY"; TICKS: that came while it was being written
//   perdure_store_writer verify DIRECTORY  "good N" or "lost N WHY" for the generations of standard input, one per line
//
// A generation's content follows from its number, so that a verifier elsewhere knows it.
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "capsule/format/test_capsules.h"
#include "replica/directory_store.h"

namespace {

using namespace perdure;
using namespace perdure::replica;

constexpr std::uint64_t kPages = 64;
constexpr Duration kTick = std::chrono::milliseconds(10);

Generation id_of(std::uint64_t number) { return capsule::testing::generation(number); }

// Each generation changes one page.
capsule::Capsule capsule_of(std::uint64_t number) {
  capsule::Capsule capsule;
  capsule.manifest.container = "writer";
  capsule.manifest.generation = id_of(number);
  std::vector<std::pair<std::uint64_t, std::string>> pages;
  for (std::uint64_t page = 0; page < kPages; ++page) {
    const std::uint64_t back = (number + kPages - page) % kPages;
    const std::uint64_t last = number >= back ? number - back : 0;
    pages.emplace_back(page, capsule::testing::noise_page(static_cast<std::uint32_t>(last * kPages + page)));
  }
  capsule.memory["mm-1"] = capsule::testing::object_of(pages);
  return capsule;
}

Result<std::unique_ptr<DirectoryStore>> open_store(const char* directory, FileSystem& files) {
  DirectoryStoreOptions options;
  options.directory = directory;
  options.container = "writer";
  options.access = DirectoryStoreOptions::Access::kShared;
  options.term = id_of(0).term;
  options.incarnation = id_of(0).incarnation;
  return DirectoryStore::open(options, files);
}

int complain(const Error& error) {
  std::fprintf(stderr, "%s\n", error.message().c_str());
  return 1;
}

bool input_has_ended() {
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return ::poll(&input, 1, 0) != 0;
}

int write(const char* directory) {
  PosixFileSystem files;
  auto store = open_store(directory, files);
  if (!store) return complain(store.error());
  std::atomic<std::uint64_t> ticks = 0;
  const std::jthread ticker([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(kTick);  // the ticker's very purpose
      ++ticks;
    }
  });
  std::optional<std::pair<std::uint64_t, capsule::Digest>> base;
  std::optional<capsule::Capsule> base_capsule;
  for (std::uint64_t number = 1; !input_has_ended(); ++number) {
    capsule::Capsule now = capsule_of(number);
    const bool full = !base || (*store)->should_be_full(id_of(base->first));
    const auto encoded = full ? capsule::testing::encoded_full(now)
                              : capsule::testing::encoded_delta(now, *base_capsule, base->second);
    const std::uint64_t ticks_before = ticks;
    const Instant begun = BootClock::now();
    const auto put = (*store)->put(encoded);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(BootClock::now() - begun).count();
    std::printf("%s %llu %lld %llu %s\n", put ? "put" : "failed", static_cast<unsigned long long>(number),
                static_cast<long long>(took), static_cast<unsigned long long>(ticks - ticks_before),
                put ? "" : put.error().message().c_str());
    std::fflush(stdout);
    base.reset();
    if (put) {
      base = {number, encoded.digest};
      base_capsule = std::move(now);
    }
  }
  return 0;
}

int verify(const char* directory) {
  PosixFileSystem files;
  DirectoryStoreOptions options;
  options.directory = directory;
  options.container = "writer";
  options.access = DirectoryStoreOptions::Access::kReader;
  auto store = DirectoryStore::open(options, files);
  if (!store) return complain(store.error());
  for (std::uint64_t number = 0; std::cin >> number;) {
    const auto loaded = (*store)->load(id_of(number));
    if (!loaded) {
      std::printf("lost %llu %s\n", static_cast<unsigned long long>(number), loaded.error().message().c_str());
    } else if (!capsule::testing::same_state(**loaded, capsule_of(number))) {
      std::printf("lost %llu it has other content\n", static_cast<unsigned long long>(number));
    } else {
      std::printf("good %llu\n", static_cast<unsigned long long>(number));
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "write") return write(argv[2]);
  if (argc == 3 && std::string_view(argv[1]) == "verify") return verify(argv[2]);
  std::fprintf(stderr, "usage: perdure_store_writer write|verify DIRECTORY\n");
  return 2;
}
