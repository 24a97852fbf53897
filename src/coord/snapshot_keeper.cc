#include "coord/snapshot_keeper.h"

#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <format>
#include <utility>

#include "base/log.h"
#include "coord/directory_names.h"
#include "io/atomic_file.h"

namespace perdure::coord {
namespace {

constexpr std::string_view kPrefix = "etcd-";
constexpr std::string_view kSuffix = ".snapshot";
constexpr std::string_view kTemporary = ".tmp";
constexpr std::string_view kPattern = "etcd-YYYYMMDDTHHMMSSZ.snapshot";
constexpr int kRetryFraction = 10;  // of the interval, after a failure

bool read_number(std::string_view text, unsigned& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc{} && end == text.data() + text.size();
}

// What a crash left half written; and what there is.
Result<std::vector<KeptSnapshot>> clean_up(const std::string& directory) {
  PERDURE_TRY(io::make_directories(directory, 0700));
  PERDURE_ASSIGN(const auto names, names_in(directory, kPrefix));
  for (const std::string& name : names) {
    if (name.ends_with(kTemporary) && time_of_snapshot(name.substr(0, name.size() - kTemporary.size()))) {
      (void)::unlink((directory + "/" + name).c_str());
    }
  }
  return list_snapshots(directory);
}

// Removes all but the newest ones.
Status drop_old(const std::string& directory, std::size_t keep) {
  PERDURE_ASSIGN(const auto kept, list_snapshots(directory));
  for (std::size_t i = keep; i < kept.size(); ++i) {
    if (::unlink(kept[i].path.c_str()) != 0) return fail_errno(std::format("remove '{}'", kept[i].path));
  }
  return {};
}

}  // namespace

std::string snapshot_name(WallTime taken) {
  return std::format("{}{:%Y%m%dT%H%M%SZ}{}", kPrefix, std::chrono::floor<std::chrono::seconds>(taken), kSuffix);
}

std::optional<WallTime> time_of_snapshot(std::string_view name) {
  if (name.size() != kPattern.size()) return std::nullopt;
  unsigned year = 0;
  unsigned month = 0;
  unsigned day = 0;
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
  const bool numbers = read_number(name.substr(5, 4), year) && read_number(name.substr(9, 2), month) &&
                       read_number(name.substr(11, 2), day) && read_number(name.substr(14, 2), hour) &&
                       read_number(name.substr(16, 2), minute) && read_number(name.substr(18, 2), second);
  if (!numbers) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) return std::nullopt;
  const WallTime taken = std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second);
  // One name per time: separators and ranges are what we would write.
  if (snapshot_name(taken) != name) return std::nullopt;
  return taken;
}

Result<std::vector<KeptSnapshot>> list_snapshots(const std::string& directory) {
  PERDURE_ASSIGN(const auto names, names_in(directory, kPrefix));
  std::vector<KeptSnapshot> kept;
  for (const std::string& name : names) {
    const auto taken = time_of_snapshot(name);
    if (!taken) continue;
    const std::string path = directory + "/" + name;
    struct stat found{};
    if (::stat(path.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    kept.push_back(KeptSnapshot{path, *taken, static_cast<std::uint64_t>(found.st_size)});
  }
  return kept;
}

struct SnapshotKeeper::State : std::enable_shared_from_this<SnapshotKeeper::State> {
  State(io::Loop& loop_, io::Pool& pool_, const Clock& clock_, SnapshotKeeperOptions options_, TakeSnapshot take_)
      : loop(loop_), pool(pool_), clock(clock_), options(std::move(options_)), take(std::move(take_)) {}

  io::Loop& loop;
  io::Pool& pool;
  const Clock& clock;
  const SnapshotKeeperOptions options;
  const TakeSnapshot take;
  std::function<void(const Result<SnapshotFile>&)> on_taken;
  bool busy = false;
  bool started = false;
  io::Timer timer;
  io::Lifetime lifetime;

  void begin() {
    const Status queued = pool.submit(
        loop, lifetime, [directory = options.directory] { return clean_up(directory); },
        [this](Result<std::vector<KeptSnapshot>> kept) {
          if (!kept) return failed(kept.error());
          const Duration age = kept->empty() ? options.interval : clock.wall() - kept->front().taken;
          // A snapshot of the future (the clock was put back) is no reason to wait for it.
          wait(age < Duration::zero() || age >= options.interval ? Duration::zero() : options.interval - age);
        });
    if (!queued) failed(queued.error());
  }

  void wait(Duration pause) {
    timer = loop.after(pause, [this] { take_one([](const Result<SnapshotFile>&) {}); });
  }

  void failed(const Error& error) {
    log::warning("no snapshot of etcd: {}", error.message());
    if (started) timer = loop.after(options.interval / kRetryFraction, [this] { begin(); });
  }

  void take_one(Answer<SnapshotFile> answer) {
    if (busy) {
      loop.post([token = lifetime.token(), answer = std::move(answer)] {
        if (token.alive()) answer(fail(ErrorCode::kTransient, "a snapshot of etcd is being taken"));
      });
      return;
    }
    busy = true;
    const std::string path = options.directory + "/" + snapshot_name(clock.wall());
    take(path, BootClock::now() + options.limit,
         [weak = weak_from_this(), answer = std::move(answer)](Result<SnapshotFile> file) {
           if (const auto self = weak.lock()) self->taken(std::move(file), answer);
         });
  }

  void taken(Result<SnapshotFile> file, const Answer<SnapshotFile>& answer) {
    if (!file) return done(std::move(file), answer);
    const Status queued = pool.submit(
        loop, lifetime, [directory = options.directory, keep = options.keep] { return drop_old(directory, keep); },
        [this, file, answer](const Status& dropped) {
          if (!dropped) log::warning("old snapshots of etcd: {}", dropped.error().message());
          done(file, answer);
        });
    if (!queued) done(std::move(file), answer);  // the next one removes what is too old
  }

  void done(Result<SnapshotFile> file, const Answer<SnapshotFile>& answer) {
    const auto self = shared_from_this();
    busy = false;
    if (!file) {
      failed(file.error());
    } else if (started) {
      wait(options.interval);
    }
    if (on_taken) on_taken(file);
    answer(std::move(file));
  }
};

SnapshotKeeper::SnapshotKeeper(io::Loop& loop, io::Pool& pool, const Clock& clock, SnapshotKeeperOptions options, TakeSnapshot take)
    : state_(std::make_shared<State>(loop, pool, clock, std::move(options), std::move(take))) {}

SnapshotKeeper::~SnapshotKeeper() {
  state_->timer.reset();
  state_->lifetime.end();
}

void SnapshotKeeper::start(std::function<void(const Result<SnapshotFile>&)> on_taken) {
  state_->on_taken = std::move(on_taken);
  state_->started = true;
  state_->begin();
}

void SnapshotKeeper::take_now(Answer<SnapshotFile> answer) { state_->take_one(std::move(answer)); }

}  // namespace perdure::coord
