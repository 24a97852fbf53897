// Proves when snapshots are taken and which are kept, with a clock that is set, a store that is played, and files that are real.
#include "coord/snapshot_keeper.h"

#include <sys/stat.h>

#include <fstream>

#include "coord/etcd_test_support.h"
#include "gmock/gmock.h"

namespace perdure::coord {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""min;
using std::chrono_literals::operator""ms;
using testing::ElementsAre;

class SnapshotKeeperTest : public testing::Test {
 protected:
  SnapshotKeeper make(Duration interval, std::size_t keep) {
    return SnapshotKeeper(*loop_, *pool_, clock_, {directory_.path() + "/kept", interval, keep, 1min},
                          [this](const std::string& path, Instant, const Answer<SnapshotFile>& answer) {
                            ++taken_;
                            if (fails_) return answer(fail(ErrorCode::kTransient, "no store"));
                            std::ofstream(path) << "content";
                            answer(SnapshotFile{path, 7});
                          });
  }
  void old_file(const std::string& name) {
    ::mkdir((directory_.path() + "/kept").c_str(), 0700);
    std::ofstream(directory_.path() + "/kept/" + name) << "old";
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const KeptSnapshot& kept : value_of(list_snapshots(directory_.path() + "/kept"))) {
      found.push_back(kept.path.substr(kept.path.rfind('/') + 1));
    }
    return found;
  }

  io::TemporaryDirectory directory_;
  std::unique_ptr<io::Loop> loop_ = io::make_loop();
  std::unique_ptr<io::Pool> pool_ = value_of(io::Pool::create({"test", 1}));
  ManualClock clock_;
  bool fails_ = false;
  std::size_t taken_ = 0;
};

TEST_F(SnapshotKeeperTest, NamesSayTheTimeAndNothingElsePasses) {
  const WallTime time = std::chrono::sys_days(std::chrono::year(2026) / 1 / 2) + 3h + 4min + std::chrono::seconds(5);
  EXPECT_EQ(snapshot_name(time), "etcd-20260102T030405Z.snapshot");
  EXPECT_EQ(time_of_snapshot("etcd-20260102T030405Z.snapshot"), time);
  for (const char* bad : {"etcd-20260102T030405Z.snapshot.tmp", "etcd-20261302T030405Z.snapshot", "etcd-20260102T250405Z.snapshot",
                          "etcd-20260102 030405Z.snapshot", "etcd-2026010-T030405Z.snapshot", "", "member"}) {
    EXPECT_EQ(time_of_snapshot(bad), std::nullopt) << bad;
  }
}

TEST_F(SnapshotKeeperTest, TakesOneAtTheStartAndThenEachInterval) {
  auto keeper = make(20ms, 2);
  std::size_t told = 0;
  keeper.start([&](const Result<SnapshotFile>& file) {
    EXPECT_TRUE(file);
    ++told;
    clock_.advance(1min);
  });
  ASSERT_TRUE(loop_->run_until([&] { return told >= 4; }, kPatience));
  EXPECT_EQ(names().size(), 2U);
  EXPECT_EQ(names().front(), snapshot_name(clock_.wall() - 1min));
}

TEST_F(SnapshotKeeperTest, WaitsWhenTheNewestIsYoungEnough) {
  old_file(snapshot_name(clock_.wall() - 1min));
  auto keeper = make(10min, 3);
  keeper.start();
  for (int i = 0; i < 20; ++i) io::settle(*loop_);
  bool passed = false;
  const io::Timer timer = loop_->after(100ms, [&] { passed = true; });
  ASSERT_TRUE(loop_->run_until([&] { return passed; }, kPatience));
  EXPECT_EQ(taken_, 0U);
}

TEST_F(SnapshotKeeperTest, TakesOneWhenTheNewestIsOfTheFuture) {
  old_file(snapshot_name(clock_.wall() + 24h));
  auto keeper = make(10min, 3);
  keeper.start();
  EXPECT_TRUE(loop_->run_until([&] { return names().size() == 2; }, kPatience));
}

TEST_F(SnapshotKeeperTest, RemovesTheOldestAndWhatACrashLeft) {
  for (int i = 1; i <= 4; ++i) old_file(snapshot_name(clock_.wall() - i * 1h));
  old_file(snapshot_name(clock_.wall() - 5h) + ".tmp");
  old_file("operators-own.snapshot");
  auto keeper = make(10min, 2);
  bool told = false;
  keeper.start([&](const Result<SnapshotFile>&) { told = true; });
  ASSERT_TRUE(loop_->run_until([&] { return told; }, kPatience));
  EXPECT_THAT(names(), ElementsAre(snapshot_name(clock_.wall()), snapshot_name(clock_.wall() - 1h)));
  EXPECT_EQ(io::count_entries(directory_.path() + "/kept"), 3);
}

TEST_F(SnapshotKeeperTest, AFailureRemovesNothingAndIsTriedAgain) {
  old_file(snapshot_name(clock_.wall() - 1h));
  fails_ = true;
  auto keeper = make(200ms, 1);
  std::size_t failures = 0;
  bool good = false;
  keeper.start([&](const Result<SnapshotFile>& file) {
    good = file.has_value();
    if (!good && ++failures == 2) fails_ = false;
  });
  ASSERT_TRUE(loop_->run_until([&] { return failures == 1; }, kPatience));
  EXPECT_EQ(names().size(), 1U);
  ASSERT_TRUE(loop_->run_until([&] { return good; }, kPatience));
  EXPECT_EQ(failures, 2U);
  EXPECT_THAT(names(), ElementsAre(snapshot_name(clock_.wall())));
}

TEST_F(SnapshotKeeperTest, OneIsTakenAtATime) {
  auto keeper = make(10min, 3);
  ::mkdir((directory_.path() + "/kept").c_str(), 0700);
  Waiting<SnapshotFile> first(*loop_);
  Waiting<SnapshotFile> second(*loop_);
  keeper.take_now(first.answer());
  keeper.take_now(second.answer());
  EXPECT_TRUE(first.get());
  EXPECT_EQ(second.get().error().code(), ErrorCode::kTransient);
}

}  // namespace
}  // namespace perdure::coord
