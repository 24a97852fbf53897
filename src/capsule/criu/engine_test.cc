// Proves with a real CRIU that processes are captured and come back: memory under write tracking equals the
// memory that CRIU reads itself, also after changes, holes and growth; timers go on; a failed or killed CRIU
// leaves the processes running; nothing is left behind. Runs in network, mount and PID-less namespaces of
// its own; needs root.
#include "capsule/criu/engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <net/if.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <format>
#include <thread>

#include "capsule/criu/image_repair.h"
#include "io/atomic_file.h"
#include "io/process.h"

namespace perdure::capsule {
namespace {

using std::chrono_literals::operator""s;

Instant soon() { return BootClock::now() + 30s; }

// A program under test, started in the test's namespaces with nothing of ours open. It answers "COMMAND\n"
// on a TCP port of the loopback with one line.
constexpr const char* kVictim = R"(
import mmap, os, select, signal, socket, struct, sys, ctypes
os.closerange(3, 1024)
port = int(sys.argv[1]); megabytes = int(sys.argv[2])
server = socket.socket(); server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port)); server.listen(16)
heap = mmap.mmap(-1, max(megabytes, 1) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, megabytes << 20, 4096): heap[i:i+8] = struct.pack("Q", i + 1)
libc = ctypes.CDLL(None, use_errno=True)
extra = []
rings = []
counter = 0
timer = -1; ticks = 0
def handle(words):
    global counter, timer, ticks
    if words[0] == "count": counter += 1; return str(counter)
    if words[0] == "set": heap[int(words[1]) * 4096 : int(words[1]) * 4096 + 8] = struct.pack("Q", int(words[2])); return "ok"
    if words[0] == "get": return str(struct.unpack("Q", heap[int(words[1]) * 4096 : int(words[1]) * 4096 + 8])[0])
    if words[0] == "drop": heap.madvise(mmap.MADV_DONTNEED, int(words[1]) * 4096, int(words[2]) * 4096); return "ok"
    if words[0] == "grow":
        new = mmap.mmap(-1, int(words[1]) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for i in range(0, len(new), 4096): new[i:i+8] = struct.pack("Q", i + 7)
        extra.append(new); return str(len(extra) - 1)
    if words[0] == "scatter":
        new = mmap.mmap(-1, int(words[1]) << 13, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        new.madvise(mmap.MADV_NOHUGEPAGE)
        for i in range(0, len(new), 8192): new[i:i+8] = struct.pack("Q", i + 3)
        extra.append(new); return str(len(extra) - 1)
    if words[0] == "sum":
        total = 0
        for block in [heap] + extra:
            for i in range(0, len(block), 4096): total = (total * 31 + struct.unpack("Q", block[i:i+8])[0]) % (1 << 61)
        return str(total)
    if words[0] == "timer":
        timer = libc.timerfd_create(1, 0x800)
        libc.timerfd_settime(timer, 0, struct.pack("qqqq", 0, int(words[1]), 0, int(words[1])), None); return "ok"
    if words[0] == "alarm":
        signal.signal(signal.SIGALRM, lambda *_: rings.append(1)); signal.setitimer(signal.ITIMER_REAL, float(words[1])); return "ok"
    if words[0] == "pauser":
        global shared
        shared = mmap.mmap(-1, 4096)
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 1024)
            def woken(*_): shared[0] += 1
            signal.signal(signal.SIGUSR1, woken); shared[1] = 1
            while True: signal.pause()
        while shared[1] == 0: pass
        return str(pid)
    if words[0] == "woken": return str(shared[0])
    if words[0] == "rings": return str(len(rings))
    if words[0] == "ticks":
        try: ticks += struct.unpack("Q", os.read(timer, 8))[0]
        except BlockingIOError: pass
        return str(ticks)
    return "unknown"
open(sys.argv[3], "w").close()
while True:
    client, _ = server.accept()
    line = client.makefile().readline()
    client.sendall((handle(line.split()) + "\n").encode())
    client.close()
)";

class EngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    // The whole test program moves into namespaces of its own: loopback, /run and scratch are private.
    ASSERT_EQ(::unshare(CLONE_NEWNET | CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(::mount("tmpfs", "/run", "tmpfs", 0, nullptr), 0);
    ::mkdir("/run/scratch", 0700);
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);  // restored processes become our children
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
  }

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: CRIU stops and recreates processes";
    directory_ = std::format("/tmp/perdure-engine-test.{}", ::getpid());
    std::filesystem::create_directories(directory_);
    network_ = open_file("/proc/self/ns/net", O_RDONLY).value();
  }

  void TearDown() override {
    if (victim_ > 0) end_victim();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  EngineOptions options(MemoryTracking tracking) {
    EngineOptions result;
    result.scratch_dir = "/run/scratch";
    result.tracking = tracking;
    result.criu.pagemap_filter = PERDURE_PAGEMAP_FILTER;
    result.precopy_threshold_bytes = 1 << 20;
    return result;
  }

  void start_victim(int megabytes) {
    const std::string ready = directory_ + "/ready";
    std::filesystem::remove(ready);
    auto process = io::ChildProcess::spawn({"/usr/bin/python3", "-c", kVictim, std::to_string(kPort),
                                            std::to_string(megabytes), ready},
                                           io::ProcessOptions{});
    ASSERT_TRUE(process) << process.error().message();
    victim_ = process->release();
    const Instant deadline = soon();
    while (!std::filesystem::exists(ready)) {
      ASSERT_LT(BootClock::now(), deadline) << "the victim did not start";
      std::this_thread::yield();
    }
  }

  void end_victim() {
    ::kill(victim_, SIGKILL);
    int status = 0;
    ::waitpid(victim_, &status, __WALL);
    victim_ = -1;
  }

  // One question, one answer; empty when nobody answers.
  std::string ask(const std::string& command) {
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
    const std::string line = command + "\n";
    if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) return {};
    std::string answer;
    char buffer[256];
    for (;;) {
      const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
      if (got <= 0) break;
      answer.append(buffer, static_cast<std::size_t>(got));
    }
    if (!answer.empty() && answer.back() == '\n') answer.pop_back();
    return answer;
  }

  Surroundings surroundings() const {
    Surroundings around;
    around.root = "/";
    around.network_namespace_fd = network_.get();
    return around;
  }

  Result<CapturedProcesses> capture(Engine& engine, const CaptureHooks& hooks = {}, std::vector<pid_t> pids = {}) {
    PERDURE_TRY(engine.warm_up(surroundings()));
    CaptureTarget target;
    target.init_pid = victim_;
    target.pids = pids.empty() ? std::vector{victim_} : std::move(pids);
    target.root = "/";
    return engine.capture(target, hooks, soon());
  }

  // Has come to wait in pause(2): a signal that is handled before that is lost on it, also without a checkpoint.
  static bool pauses(pid_t pid) {
    const Instant deadline = soon();
    while (BootClock::now() < deadline) {
      const auto call = read_file(std::format("/proc/{}/syscall", pid));
      if (call && call->starts_with(std::format("{} ", SYS_pause))) return true;
    }
    return false;
  }

  static Capsule capsule_of(CapturedProcesses captured) {
    Capsule capsule;
    capsule.images = std::move(captured.images);
    capsule.memory = std::move(captured.memory);
    return capsule;
  }

  void restore(Engine& engine, const Capsule& capsule) {
    RestoreTarget target;
    target.surroundings = surroundings();
    const auto restored = engine.restore(capsule, target, soon());
    ASSERT_TRUE(restored) << restored.error().message();
    victim_ = restored->init_pid;
  }

  static constexpr int kPort = 4701;
  std::string directory_;
  UniqueFd network_;
  pid_t victim_ = -1;
};

TEST_F(EngineTest, TrackedMemoryEqualsWhatCriuReads) {
  ASSERT_NO_FATAL_FAILURE(start_victim(16));
  Engine tracked("victim", options(MemoryTracking::kOn));
  Engine plain("victim", options(MemoryTracking::kOff));
  for (int round = 0; round < 4; ++round) {
    ASSERT_EQ(ask(std::format("set {} {}", 5 + round, 1000 + round)), "ok");
    if (round == 2) {
      ASSERT_EQ(ask("drop 100 50"), "ok");
    }
    if (round == 3) {
      ASSERT_EQ(ask("grow 2"), "0");
    }
    // With one stop in between nothing but CRIU's own stack may differ; compare the heap.
    const auto by_tracker = capture(tracked);
    ASSERT_TRUE(by_tracker) << by_tracker.error().message();
    EXPECT_TRUE(by_tracker->untracked.empty()) << by_tracker->untracked.begin()->second;
    const auto by_criu = capture(plain);
    ASSERT_TRUE(by_criu) << by_criu.error().message();
    ASSERT_EQ(by_tracker->memory.size(), by_criu->memory.size());
    const auto& [name, ours] = *by_tracker->memory.begin();
    const PagedObject& theirs = by_criu->memory.at(name);
    EXPECT_EQ(ours.page_count(), theirs.page_count()) << "round " << round;
    EXPECT_LE(theirs.changed_since(ours).page_count(), 8u) << "round " << round;
    if (round > 0) {
      EXPECT_LT(by_tracker->pages_read, round == 3 ? 1536u : 1024u) << "round " << round;
    }
  }
}

TEST_F(EngineTest, RestoredProcessHasTheCapturedMemory) {
  ASSERT_NO_FATAL_FAILURE(start_victim(8));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_TRUE(capture(engine));
  EXPECT_EQ(ask("count"), "1");
  EXPECT_EQ(ask("set 17 4711"), "ok");
  EXPECT_EQ(ask("drop 200 10"), "ok");
  const std::string sum = ask("sum");
  auto captured = capture(engine);
  ASSERT_TRUE(captured) << captured.error().message();
  const Capsule capsule = capsule_of(*std::move(captured));
  EXPECT_EQ(ask("count"), "2");
  EXPECT_EQ(ask("set 17 1"), "ok");
  end_victim();
  for (int round = 0; round < 3; ++round) {
    ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
    EXPECT_EQ(ask("get 17"), "4711");
    EXPECT_EQ(ask("get 201"), "0");
    EXPECT_EQ(ask("sum"), sum);
    EXPECT_EQ(ask("count"), "2");
    ASSERT_TRUE(capture(engine)) << "a restored process is captured again";
    end_victim();
  }
}

// The kernel reports 512 regions at once, the tracker asks for 8192: both bounds are passed.
TEST_F(EngineTest, MemoryInManyPiecesIsTracked) {
  for (const int pieces : {700, 9000}) {
    ASSERT_NO_FATAL_FAILURE(start_victim(2));
    Engine engine("victim", options(MemoryTracking::kOn));
    ASSERT_EQ(ask(std::format("scatter {}", pieces)), "0");
    ASSERT_TRUE(capture(engine));
    EXPECT_EQ(ask("set 17 4711"), "ok");
    const std::string sum = ask("sum");
    auto captured = capture(engine);
    ASSERT_TRUE(captured) << captured.error().message();
    EXPECT_TRUE(captured->untracked.empty());
    EXPECT_LT(captured->pages_read, 400u) << "only what was written";
    const Capsule capsule = capsule_of(*std::move(captured));
    end_victim();
    ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
    EXPECT_EQ(ask("sum"), sum) << pieces;
    end_victim();
  }
}

TEST_F(EngineTest, PeriodicTimerThatExpiredInTheFreezeGoesOn) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_EQ(ask("timer 1000000"), "ok");
  for (int round = 0; round < 3; ++round) {
    CaptureHooks hooks;
    hooks.before_thaw = [] {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than the timer's period
      return Status{};
    };
    auto captured = capture(engine, hooks);
    ASSERT_TRUE(captured) << captured.error().message();
    const Capsule capsule = capsule_of(*std::move(captured));
    end_victim();
    ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
    const int before = std::stoi(ask("ticks"));
    const Instant deadline = soon();
    while (std::stoi(ask("ticks")) < before + 20) ASSERT_LT(BootClock::now(), deadline) << "silent timer";
  }
}

TEST_F(EngineTest, AnAlarmThatIsSetRingsOnceAfterTheRestore) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_EQ(ask("alarm 3"), "ok");
  auto captured = capture(engine);
  ASSERT_TRUE(captured) << captured.error().message();
  ASSERT_EQ(ask("rings"), "0") << "the machine was too slow for this test's alarm";
  const Capsule capsule = capsule_of(*std::move(captured));
  end_victim();
  ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
  const Instant deadline = soon();
  while (ask("rings") == "0") ASSERT_LT(BootClock::now(), deadline) << "the alarm is lost";
  EXPECT_EQ(ask("rings"), "1");
}

TEST_F(EngineTest, ASignalThatArrivesInTheFreezeEndsThePauseAfterTheRestore) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  const pid_t pauser = std::stoi(ask("pauser"));
  for (int round = 1; round <= 5; ++round) {
    ASSERT_TRUE(pauses(pauser));
    CaptureHooks hooks;
    hooks.frozen = [&] {
      EXPECT_EQ(::kill(pauser, SIGUSR1), 0);
      return Status{};
    };
    auto captured = capture(engine, hooks);
    ASSERT_TRUE(captured) << captured.error().message();
    const Capsule capsule = capsule_of(*std::move(captured));
    end_victim();
    ::kill(pauser, SIGKILL);
    ASSERT_EQ(::waitpid(pauser, nullptr, __WALL), pauser);
    ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
    const Instant deadline = soon();
    while (std::stoi(ask("woken")) < round) ASSERT_LT(BootClock::now(), deadline) << "still waits";
    // It waits for the next one, not for the one that came.
    EXPECT_EQ(ask("woken"), std::to_string(round));
  }
}

TEST_F(EngineTest, ASignalThatArrivesInTheFreezeEndsThePauseOfTheProcessThatRunsOn) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  const pid_t pauser = std::stoi(ask("pauser"));
  for (int round = 1; round <= 10; ++round) {
    ASSERT_TRUE(pauses(pauser));
    CaptureHooks hooks;
    hooks.frozen = [&] {
      EXPECT_EQ(::kill(pauser, SIGUSR1), 0);
      return Status{};
    };
    const auto captured = capture(engine, hooks, {victim_, pauser});
    ASSERT_TRUE(captured) << captured.error().message();
    const Instant deadline = soon();
    while (std::stoi(ask("woken")) < round) ASSERT_LT(BootClock::now(), deadline) << "still waits";
    EXPECT_EQ(ask("woken"), std::to_string(round));
  }
  end_victim();
  ::kill(pauser, SIGKILL);
  ASSERT_EQ(::waitpid(pauser, nullptr, __WALL), pauser);
}

// CRIU reads pending signals first and timers last: what expires in between is in neither.
TEST_F(EngineTest, AnAlarmThatExpiresDuringTheDumpIsNotLost) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  constexpr int kSteps = 40;  // of half a millisecond: longer than a dump
  for (int step = 0; step < kSteps; ++step) {
    ASSERT_EQ(ask(std::format("alarm {}", 0.0005 * (step + 1))), "ok");
    auto captured = capture(engine);
    ASSERT_TRUE(captured) << captured.error().message();
    const Capsule capsule = capsule_of(*std::move(captured));
    end_victim();
    ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
    const Instant deadline = soon();
    while (std::stoi(ask("rings")) < step + 1) {
      ASSERT_LT(BootClock::now(), deadline) << "lost in step " << step;
    }
    ASSERT_EQ(ask("rings"), std::to_string(step + 1));
  }
}

TEST_F(EngineTest, FailedHookLeavesTheProcessRunningAndTheNextCaptureWhole) {
  ASSERT_NO_FATAL_FAILURE(start_victim(4));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_TRUE(capture(engine));
  ASSERT_EQ(ask("set 3 33"), "ok");
  CaptureHooks hooks;
  hooks.before_thaw = [] { return Status(fail(ErrorCode::kNoSpace, "disk is full")); };
  const auto failed = capture(engine, hooks);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(ask("get 3"), "33") << "the process runs on";
  auto captured = capture(engine);
  ASSERT_TRUE(captured) << captured.error().message();
  const Capsule capsule = capsule_of(*std::move(captured));
  end_victim();
  ASSERT_NO_FATAL_FAILURE(restore(engine, capsule));
  EXPECT_EQ(ask("get 3"), "33") << "a change before the failed capture is in the next one";
}

// It would wait for init, and init for children whose end only their tracer is told.
TEST_F(EngineTest, ACriuThatWaitsForAnInitOnItsEndIsKilled) {
  const std::string silent = directory_ + "/criu";
  ASSERT_TRUE(io::write_file_atomically(silent, "#!/bin/sh\nexec sleep 1000\n", 0700));
  CriuProgram program;
  program.path = silent;
  auto worker = CriuWorker::spawn(program, network_.get());
  ASSERT_TRUE(worker.has_value()) << worker.error().message();
  DumpRequest request;
  request.init_pid = ::fork();
  if (request.init_pid == 0) ::_exit(0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(request.init_pid), &info, WEXITED | WNOWAIT), 0);
  request.images_dir_fd = network_.get();
  const Instant deadline = soon();
  const Status dumped = worker->dump(request, {}, deadline);
  ASSERT_FALSE(dumped.has_value());
  EXPECT_EQ(dumped.error().code(), ErrorCode::kTransient) << dumped.error().message();
  EXPECT_LT(BootClock::now(), deadline);
  EXPECT_TRUE(worker->finish(soon()).has_value());
  ::waitpid(request.init_pid, nullptr, 0);
}

TEST_F(EngineTest, ARestoreThatWaitsForTheDeadIsGivenUp) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_TRUE(engine.warm_up(surroundings()));
  auto captured = capture(engine);
  ASSERT_TRUE(captured) << captured.error().message();
  const Capsule capsule = capsule_of(*std::move(captured));

  // Has a child that has ended, and never looks.
  const std::string blind = directory_ + "/criu";
  ASSERT_TRUE(io::write_file_atomically(blind, "#!/bin/sh\nsleep 0 &\nexec sleep 1000\n", 0700));
  EngineOptions with_blind = options(MemoryTracking::kOn);
  with_blind.criu.path = blind;
  with_blind.criu.standby.clear();
  Engine other("other", with_blind);
  RestoreTarget target;
  target.surroundings = surroundings();
  const Instant deadline = soon();
  const auto restored = other.restore(capsule, target, deadline);
  ASSERT_FALSE(restored.has_value());
  EXPECT_EQ(restored.error().code(), ErrorCode::kTransient) << restored.error().message();
  EXPECT_LT(BootClock::now(), deadline);
}

TEST_F(EngineTest, CriuErrorIsExplainedWithItsOwnWords) {
  ASSERT_NO_FATAL_FAILURE(start_victim(1));
  Engine engine("victim", options(MemoryTracking::kOn));
  ASSERT_TRUE(engine.warm_up(surroundings()));
  CaptureTarget target;
  target.init_pid = 0x3fffff;  // nobody
  target.root = "/";
  const auto failed = engine.capture(target, {}, soon());
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message().find("Error ("), std::string::npos) << failed.error().message();
}

TEST_F(EngineTest, ScratchAndDescriptorsDoNotGrow) {
  ASSERT_NO_FATAL_FAILURE(start_victim(2));
  Engine engine("victim", options(MemoryTracking::kOn));
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  ASSERT_TRUE(capture(engine));
  const auto before = descriptors();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(capture(engine));
  EXPECT_EQ(descriptors(), before);
  EXPECT_TRUE(std::filesystem::is_empty("/run/scratch"));
}

}  // namespace
}  // namespace perdure::capsule
