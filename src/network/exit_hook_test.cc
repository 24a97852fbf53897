// Proves that a process of a protected cgroup that a signal kills says nothing more to its TCP
// peers (the control without the hook says FIN), that an exit of its own will is not held, that
// where only listed deaths hold no other one does, and that the hook outlives the daemon. Real
// processes in a cgroup of the test's own below the v2 mount.
#include "network/exit_hook.h"

#include <bpf/bpf.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/fd.h"
#include "base/process_status.h"
#include "gmock/gmock.h"
#include "network/network_test_support.h"

namespace perdure::network {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint16_t kPort = 5000;
const std::string kPins = "/run/perdure/bpf";

std::string cgroup_mount() {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string device, point, type, rest;
       mounts >> device >> point >> type && std::getline(mounts, rest);) {
    if (type == "cgroup2") return point;
  }
  return {};
}

// A cgroup with everything in it; those of dead test processes are removed as well.
class TestCgroup {
 public:
  explicit TestCgroup(const std::string& mount)
      : path_(mount + "/" + prefix() + std::to_string(::getpid())) {
    for (const auto& entry : std::filesystem::directory_iterator(mount)) {
      const std::string file = entry.path().filename();
      if (!file.starts_with(prefix())) continue;
      const pid_t maker = std::atoi(file.c_str() + prefix().size());
      if (::kill(maker, 0) != 0 && errno == ESRCH) remove(entry.path());
    }
    EXPECT_EQ(::mkdir(path_.c_str(), 0755), 0) << path_ << ": " << std::strerror(errno);
  }
  ~TestCgroup() { remove(path_); }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;

  const std::string& path() const { return path_; }
  std::string make_nested(const std::string& name) const {
    EXPECT_EQ(::mkdir((path_ + "/" + name).c_str(), 0755), 0);
    return path_ + "/" + name;
  }

 private:
  static std::string prefix() { return "perdure-network-test-"; }
  static void remove(const std::string& path) {
    (void)write_control_file(path + "/cgroup.kill", "1");
    eventually([&] {
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
        if (entry.is_directory()) ::rmdir(entry.path().c_str());
      }
      return ::rmdir(path.c_str()) == 0 || errno == ENOENT;
    });
  }
  std::string path_;
};

class ExitHookTest : public BridgeTest {
 protected:
  // What the process does once its connection stands.
  enum class Then { kWait, kExitWhenTold };
  struct ProcessOptions {
    std::string cgroup = {};
    Then then = Then::kWait;
    bool as_init = false;  // PID 1 of a namespace of its own
    unsigned threads = 0;  // further ones, waiting
  };
  // A process in the container's namespaces with a connection to us that only it holds.
  struct Process {
    pid_t pid = -1;
    UniqueFd peer;  // our end
    UniqueFd tell;
  };

  void SetUp() override {
    BridgeTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    const std::string mount = cgroup_mount();
    if (mount.empty()) GTEST_SKIP() << "no cgroup v2 hierarchy is mounted";
    cgroup_ = std::make_unique<TestCgroup>(mount);
    cgroup_id_ = value_of(cgroup_id(cgroup_->path()));
    container_.emplace(make_container(2));
    const auto hook = ExitHook::install({kPins});
    if (!hook) GTEST_SKIP() << hook.error().message();
    ASSERT_OK(ExitHook::uninstall({kPins}));
  }

  Gate& gate() { return container_->attachment.gate; }

  [[noreturn]] static void child_main(const Container& container, const ProcessOptions& options,
                                      int told) {
    const Endpoint host{ip("10.1.0.1"), kPort};
    if (::setns(container.netns.fd(), CLONE_NEWNET) != 0) ::_exit(101);
    if (!write_control_file(options.cgroup + "/cgroup.procs", "0")) ::_exit(102);
    for (unsigned i = 0; i < options.threads; ++i) std::thread([] { ::pause(); }).detach();
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress to(host);
    if (::connect(socket.get(), to.get(), to.size) != 0) ::_exit(103);
    char byte;
    if (options.then == Then::kExitWhenTold && ::read(told, &byte, 1) == 1) ::_exit(0);
    while (true) ::pause();
  }

  Process start(ProcessOptions options) {
    if (options.cgroup.empty()) options.cgroup = cgroup_->path();
    const UniqueFd listener = socket_at(-1, SOCK_STREAM, Endpoint{ip("10.1.0.1"), kPort});
    EXPECT_EQ(::listen(listener.get(), 8), 0);
    Pipe pipe = value_of(make_pipe());
    Process process;
    if (options.as_init) {
      // The namespace is for children only, and for those of a thread that ends.
      std::thread([&] {
        EXPECT_EQ(::unshare(CLONE_NEWPID), 0) << std::strerror(errno);
        process.pid = ::fork();
        if (process.pid == 0) child_main(*container_, options, pipe.read_end.get());
      }).join();
    } else {
      process.pid = ::fork();
      if (process.pid == 0) child_main(*container_, options, pipe.read_end.get());
    }
    EXPECT_TRUE(readable_within(listener.get(), 20'000)) << "the process did not connect";
    process.peer.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    process.tell = std::move(pipe.write_end);
    return process;
  }

  static void kill_and_reap(const Process& process, int signal = SIGKILL) {
    ASSERT_EQ(::kill(process.pid, signal), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(process.pid, &status, 0), process.pid);
    ASSERT_TRUE(WIFSIGNALED(status)) << status;
  }

  // The peer has heard the end of the connection.
  static bool ended(const Process& process, int within_ms) {
    char byte;
    return readable_within(process.peer.get(), within_ms) &&
           ::read(process.peer.get(), &byte, 1) <= 0;
  }

  static std::vector<Death> deaths_of(ExitHook& hook) {
    std::vector<Death> all;
    while (auto death = hook.next_death()) all.push_back(*std::move(death));
    return all;
  }

  std::unique_ptr<TestCgroup> cgroup_;
  std::uint64_t cgroup_id_ = 0;
  std::optional<Container> container_;
};

// Processes of a container under an init of their own, each with a connection to us that only it
// holds.
class ListedDeathsTest : public ExitHookTest {
 protected:
  enum Role : int {
    kInit,
    kService,         // child of init, in a session of its own, as the next
    kOther,
    kWorker,          // child of kService
    kWorkersChild,
    kOthersWorker,    // child of kOther
    kLeftByService,   // grandchild of kService, whose parent has ended: init's, in its session
    kLeftByOther,
    kServicesSandbox,  // child of kService, PID 1 of a namespace within
    kOthersSandbox,
    kInServicesSandbox,  // child of that
    kInOthersSandbox,
    kRoles
  };

  void SetUp() override {
    ExitHookTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    gate().set_flags(GateFlags::kHoldOnDeath | GateFlags::kListedDeathsOnly);
    start_family();
  }

  ExitHook protect() {
    ExitHook hook = value_of(ExitHook::install({kPins}));
    EXPECT_OK(hook.protect(cgroup_id_, gate()));
    return hook;
  }
  void list(ExitHook& hook, std::vector<Role> roles) {
    std::vector<pid_t> inner;
    for (const Role role : roles) inner.push_back(inner_.at(role));
    ASSERT_OK(hook.list(cgroup_id_, family_[kInit].pid, inner));
  }
  // Whether its death closes the gate, which is open afterwards; if not, its peer hears the end at
  // once.
  bool holds(Role role) {
    const Process& process = family_.at(role);
    const std::uint64_t before = gate().holds();
    const std::uint64_t deaths = gate().deaths();
    EXPECT_EQ(::kill(process.pid, SIGKILL), 0);
    EXPECT_TRUE(eventually([&] { return gate().deaths() > deaths; }));
    const bool held = gate().holds() > before;
    if (held) {
      EXPECT_FALSE(ended(process, kSilenceMs)) << "role " << role;
    } else {
      EXPECT_TRUE(ended(process, 20'000)) << "role " << role;
      EXPECT_EQ(gate().counters().dropped_held, dropped_) << "role " << role;
    }
    gate().release_holds(gate().holds());
    dropped_ = gate().counters().dropped_held;
    return held;
  }

  static std::uint32_t id_of_link(const std::string& pin) {
    const UniqueFd link(bpf_obj_get(pin.c_str()));
    bpf_link_info info{};
    std::uint32_t size = sizeof info;
    EXPECT_EQ(bpf_obj_get_info_by_fd(link.get(), &info, &size), 0) << pin;
    return info.id;
  }
  static bool is_gone(std::uint32_t link) { return !UniqueFd(bpf_link_get_fd_by_id(link)); }

  static std::vector<std::string> pinned() {
    std::vector<std::string> pins;
    for (const auto& entry : std::filesystem::directory_iterator(kPins)) {
      if (entry.path().filename().native().starts_with("exit_hook_")) pins.push_back(entry.path());
    }
    std::ranges::sort(pins);
    return pins;
  }

  std::map<Role, Process> family_;

 private:
  static std::string name_of(Role role) { return "role" + std::to_string(role); }
  struct Greeting {
    int role = 0;
    pid_t inner = 0;
  };

  [[noreturn]] static void be(Role role) {
    ::prctl(PR_SET_NAME, name_of(role).c_str());
    const auto begin = [](Role child) {
      if (::fork() == 0) be(child);
    };
    // Its parent ends, and it belongs to init before it says a word.
    const auto leave = [](Role child) {
      const pid_t parent = ::fork();
      if (parent == 0) {
        if (::fork() == 0) {
          while (::getppid() != 1) ::usleep(1000);
          be(child);
        }
        ::_exit(0);
      }
    };
    if (role == kService || role == kOther) ::setsid();
    if (role == kInit) begin(kService), begin(kOther);
    if (role == kService) begin(kWorker), leave(kLeftByService);
    if (role == kOther) begin(kOthersWorker), leave(kLeftByOther);
    if (role == kWorker) begin(kWorkersChild);
    if (role == kService || role == kOther) {
      if (::unshare(CLONE_NEWPID) != 0) ::_exit(105);
      begin(role == kService ? kServicesSandbox : kOthersSandbox);
    }
    if (role == kServicesSandbox) begin(kInServicesSandbox);
    if (role == kOthersSandbox) begin(kInOthersSandbox);
    const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress to(Endpoint{ip("10.1.0.1"), kPort});
    if (::connect(socket.get(), to.get(), to.size) != 0) ::_exit(103);
    const Greeting greeting{role, ::getpid()};
    if (::write(socket.get(), &greeting, sizeof greeting) != sizeof greeting) ::_exit(104);
    while (true) ::pause();
  }

  void start_family() {
    const UniqueFd listener = socket_at(-1, SOCK_STREAM, Endpoint{ip("10.1.0.1"), kPort});
    ASSERT_EQ(::listen(listener.get(), kRoles), 0);
    std::thread([&] {
      ASSERT_EQ(::unshare(CLONE_NEWPID), 0) << std::strerror(errno);
      if (::fork() != 0) return;
      ::signal(SIGCHLD, SIG_IGN);  // reaps
      if (::setns(container_->netns.fd(), CLONE_NEWNET) != 0) ::_exit(101);
      if (!write_control_file(cgroup_->path() + "/cgroup.procs", "0")) ::_exit(102);
      be(kInit);
    }).join();
    for (int i = 0; i < kRoles; ++i) {
      ASSERT_TRUE(readable_within(listener.get(), 20'000)) << "not all have connected";
      UniqueFd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      Greeting greeting;
      ASSERT_TRUE(readable_within(peer.get(), 20'000));
      ASSERT_EQ(::read(peer.get(), &greeting, sizeof greeting), ssize_t{sizeof greeting});
      const Role role{greeting.role};
      inner_[role] = greeting.inner;
      family_[role].peer = std::move(peer);
    }
    // Only now has each a name of its own.
    std::ifstream members(cgroup_->path() + "/cgroup.procs");
    for (pid_t pid; members >> pid;) {
      const auto name = read_file("/proc/" + std::to_string(pid) + "/comm");
      for (auto& [role, process] : family_) {
        if (name && *name == name_of(role) + "\n") process.pid = pid;
      }
    }
    for (const auto& [role, process] : family_) ASSERT_GT(process.pid, 0) << "role " << role;
    ASSERT_EQ(inner_[kInit], 1);
  }

  std::map<Role, pid_t> inner_;
  std::uint64_t dropped_ = 0;
};

TEST_F(ListedDeathsTest, HoldWithTheirDescendantsAndInit) {
  ExitHook hook = protect();
  list(hook, {kService});
  EXPECT_TRUE(holds(kWorkersChild));
  EXPECT_TRUE(holds(kWorker));
  EXPECT_TRUE(holds(kLeftByService)) << "it is in its session";
  EXPECT_TRUE(holds(kService));
  EXPECT_FALSE(holds(kOthersWorker));
  EXPECT_FALSE(holds(kOther));
  EXPECT_FALSE(holds(kLeftByOther)) << "it is init's now";
  EXPECT_TRUE(holds(kInit));
  std::vector<std::pair<bool, bool>> reported;  // held, init
  for (const Death& death : deaths_of(hook)) reported.emplace_back(death.held, death.is_init);
  reported.resize(8);  // the kernel kills with init who is left
  const std::pair held{true, false}, passed{false, false}, init{true, true};
  EXPECT_THAT(reported, ElementsAre(held, held, held, held, passed, passed, passed, init));
}

TEST_F(ListedDeathsTest, NumbersOfNamespacesWithinAreNotMistaken) {
  ExitHook hook = protect();
  list(hook, {kService});
  EXPECT_TRUE(holds(kInServicesSandbox));
  EXPECT_TRUE(holds(kServicesSandbox));
  EXPECT_FALSE(holds(kInOthersSandbox));
  EXPECT_FALSE(holds(kOthersSandbox)) << "it is not the container's PID 1";
}

TEST_F(ListedDeathsTest, NobodyIsListedButInit) {
  ExitHook hook = protect();
  list(hook, {});
  EXPECT_FALSE(holds(kWorker));
  EXPECT_FALSE(holds(kService));
  EXPECT_TRUE(holds(kInit));
}

TEST_F(ListedDeathsTest, AListReplacesTheOneBefore) {
  ExitHook hook = protect();
  list(hook, {kService});
  list(hook, {kOther});
  EXPECT_FALSE(holds(kService));
  EXPECT_TRUE(holds(kOthersWorker));
  list(hook, {});
  EXPECT_FALSE(holds(kOther));
}

TEST_F(ListedDeathsTest, UntilSomethingIsListedEveryDeathHolds) {
  ExitHook hook = protect();
  EXPECT_TRUE(holds(kLeftByOther));
  list(hook, {kService});
  EXPECT_FALSE(holds(kOthersWorker));
  ASSERT_OK(hook.unprotect(cgroup_id_));
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  EXPECT_TRUE(holds(kOther)) << "its list is forgotten";
}

TEST_F(ListedDeathsTest, WithoutTheFlagTheListDoesNotCount) {
  ExitHook hook = protect();
  list(hook, {kService});
  gate().clear_flags(GateFlags::kListedDeathsOnly);
  EXPECT_TRUE(holds(kOther));
  gate().add_flags(GateFlags::kListedDeathsOnly);
  gate().open();
  EXPECT_FALSE(holds(kOthersWorker)) << "open() leaves it";
}

TEST_F(ListedDeathsTest, AListOfAProcessThatIsGoneIsRefused) {
  ExitHook hook = protect();
  EXPECT_EQ(hook.list(cgroup_id_, 1 << 30, {}).error().code(), ErrorCode::kNotFound);
}

TEST_F(ListedDeathsTest, APinnedHookKeepsItsList) {
  { list(*std::make_unique<ExitHook>(protect()), {kService}); }
  EXPECT_FALSE(holds(kLeftByOther));
  EXPECT_TRUE(holds(kWorkersChild));
  ExitHook hook = value_of(ExitHook::install({kPins}));
  ASSERT_TRUE(hook.pinned());
  EXPECT_FALSE(holds(kOthersWorker));
  EXPECT_TRUE(holds(kWorker));
  list(hook, {});  // what it has found is replaced
  EXPECT_FALSE(holds(kService));
  ASSERT_OK(hook.unprotect(cgroup_id_));
}

// As if an older release had pinned it, which had no list.
TEST_F(ListedDeathsTest, APinnedHookWithoutAListIsReplacedAndProtectsTheSame) {
  { protect(); }
  const std::vector<std::string> pins = pinned();
  const auto list_pin = std::ranges::find_if(
      pins, [](const std::string& pin) { return pin.ends_with("_listed"); });
  ASSERT_NE(list_pin, pins.end());
  ASSERT_EQ(::unlink(list_pin->c_str()), 0);
  EXPECT_TRUE(holds(kLeftByOther));
  const auto link = std::ranges::find_if(pins, [](const std::string& pin) { return pin.contains("_link"); });
  ASSERT_NE(link, pins.end());
  const std::uint32_t older = id_of_link(*link);
  ExitHook hook = value_of(ExitHook::install({kPins}));
  EXPECT_TRUE(hook.pinned());
  ASSERT_TRUE(eventually([&] { return is_gone(older); })) << "the kernel lets go of it later";
  EXPECT_THAT(value_of(hook.protected_cgroups()), ElementsAre(cgroup_id_));
  EXPECT_TRUE(holds(kOthersWorker));
  list(hook, {kService});
  EXPECT_FALSE(holds(kOther));
  EXPECT_TRUE(holds(kService));
  EXPECT_EQ(deaths_of(hook).size(), 4u) << "each once, also that of before";
  EXPECT_EQ(gate().holds(), 3u) << "the older hook is gone";
  EXPECT_EQ(pinned(), pins);
}

// As if an older release had pinned it, whose program reports less.
TEST_F(ListedDeathsTest, APinnedHookOfAnOlderProgramIsReplacedAndProtectsTheSame) {
  {
    ExitHook hook = protect();
    list(hook, {kService});
  }
  const std::vector<std::string> pins = pinned();
  const auto link = std::ranges::find_if(pins, [](const std::string& pin) { return pin.ends_with("_link_2"); });
  ASSERT_NE(link, pins.end());
  ASSERT_EQ(::rename(link->c_str(), link->substr(0, link->size() - 2).c_str()), 0);
  EXPECT_TRUE(holds(kWorker));
  const std::uint32_t older = id_of_link(link->substr(0, link->size() - 2));
  ExitHook hook = value_of(ExitHook::install({kPins}));
  EXPECT_TRUE(hook.pinned());
  EXPECT_EQ(pinned(), pins);
  ASSERT_TRUE(eventually([&] { return is_gone(older); })) << "the kernel lets go of it later";
  EXPECT_THAT(value_of(hook.protected_cgroups()), ElementsAre(cgroup_id_));
  EXPECT_FALSE(holds(kOther));
  EXPECT_TRUE(holds(kService));
  EXPECT_EQ(gate().holds(), 2u) << "the older hook is gone";
}

TEST_F(ExitHookTest, WithoutTheHookAKilledProcessSaysFin) {
  gate().set_flags(GateFlags::kHoldOnDeath);
  const Process process = start({});
  kill_and_reap(process);
  EXPECT_TRUE(ended(process, 20'000));
  EXPECT_FALSE(gate().held());
}

TEST_F(ExitHookTest, KilledProcessIsSilentUntilReleased) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process process = start({});
  EXPECT_FALSE(gate().held());
  kill_and_reap(process);
  EXPECT_TRUE(gate().held());
  EXPECT_EQ(gate().holds(), 1u);
  ASSERT_TRUE(eventually([&] { return gate().counters().dropped_held > 0; }))
      << "the FIN was tried";
  EXPECT_FALSE(ended(process, 2 * kSilenceMs));

  ASSERT_TRUE(readable_within(hook.event_fd(), 20'000));
  const auto deaths = deaths_of(hook);
  ASSERT_EQ(deaths.size(), 1u);
  EXPECT_EQ(deaths[0].cgroup_id, cgroup_id_);
  EXPECT_EQ(deaths[0].process_id, process.pid);
  EXPECT_EQ(deaths[0].signal, SIGKILL);
  EXPECT_TRUE(deaths[0].held);
  EXPECT_FALSE(deaths[0].is_init);
  EXPECT_EQ(deaths[0].pid_namespace, value_of(pid_namespace_of(::getpid())));
  EXPECT_EQ(deaths[0].command, "network_test");
  EXPECT_FALSE(readable_within(hook.event_fd(), 0));

  gate().release_holds(gate().holds());
  EXPECT_FALSE(gate().held());
  EXPECT_TRUE(ended(process, 20'000)) << "the kernel repeats the FIN";
}

TEST_F(ExitHookTest, CoreDumpingSignalOfAThreadedProcessIsOneDeath) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process process = start({.threads = 7});
  kill_and_reap(process, SIGQUIT);
  EXPECT_TRUE(gate().held());
  EXPECT_FALSE(ended(process, kSilenceMs));
  EXPECT_EQ(gate().deaths(), 1u);
  const auto deaths = deaths_of(hook);
  ASSERT_EQ(deaths.size(), 1u);
  EXPECT_EQ(deaths[0].signal, SIGQUIT);
}

TEST_F(ExitHookTest, ExitOfItsOwnWillIsNotHeld) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process process = start({.then = Then::kExitWhenTold, .threads = 3});
  ASSERT_EQ(::write(process.tell.get(), "x", 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(process.pid, &status, 0), process.pid);
  ASSERT_TRUE(WIFEXITED(status))
      << "its other threads are killed by the kernel, that is no death by a signal";
  EXPECT_TRUE(ended(process, 20'000));
  EXPECT_FALSE(gate().held());
  EXPECT_EQ(gate().deaths(), 0u);
  EXPECT_THAT(deaths_of(hook), IsEmpty());
}

TEST_F(ExitHookTest, NestedCgroupsBelongToTheContainer) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process process = start({.cgroup = cgroup_->make_nested("inner")});
  kill_and_reap(process);
  EXPECT_TRUE(gate().held());
  EXPECT_FALSE(ended(process, kSilenceMs));
  EXPECT_EQ(deaths_of(hook).at(0).cgroup_id, cgroup_id_);
}

TEST_F(ExitHookTest, OnlyProtectedCgroupsAndOnlyWhileProtected) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  const std::string inner = cgroup_->make_nested("inner");
  const std::uint64_t inner_id = value_of(cgroup_id(inner));
  ASSERT_OK(hook.protect(inner_id, gate()));
  EXPECT_THAT(value_of(hook.protected_cgroups()), ElementsAre(inner_id));
  const Process outside = start({});
  kill_and_reap(outside);
  EXPECT_TRUE(ended(outside, 20'000)) << "the parent of a protected cgroup is not protected";
  ASSERT_OK(hook.unprotect(inner_id));
  ASSERT_OK(hook.unprotect(inner_id));
  EXPECT_THAT(value_of(hook.protected_cgroups()), IsEmpty());
  const Process inside = start({.cgroup = inner});
  kill_and_reap(inside);
  EXPECT_TRUE(ended(inside, 20'000));
  EXPECT_EQ(gate().deaths(), 0u);
}

TEST_F(ExitHookTest, InitOnlyHoldsForInitOnly) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnInitDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process worker = start({});
  kill_and_reap(worker);
  EXPECT_TRUE(ended(worker, 20'000));
  EXPECT_EQ(gate().deaths(), 1u) << "counted, not held";
  EXPECT_FALSE(gate().held());
  const Process init = start({.as_init = true});
  kill_and_reap(init);
  EXPECT_TRUE(gate().held());
  EXPECT_FALSE(ended(init, kSilenceMs));
  const auto deaths = deaths_of(hook);
  ASSERT_EQ(deaths.size(), 2u);
  EXPECT_FALSE(deaths[0].held);
  EXPECT_FALSE(deaths[0].is_init);
  EXPECT_TRUE(deaths[1].held);
  EXPECT_TRUE(deaths[1].is_init);
}

// A death between the look at the gate and the release must stay a hold.
TEST_F(ExitHookTest, ReleaseNeverSwallowsALaterDeath) {
  ExitHook hook = value_of(ExitHook::install({kPins}));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  kill_and_reap(start({}));
  const std::uint64_t seen = gate().holds();
  gate().release_holds(seen);
  const Process second = start({});
  kill_and_reap(second);
  gate().release_holds(seen);
  EXPECT_TRUE(gate().held());
  EXPECT_FALSE(ended(second, kSilenceMs));
}

TEST_F(ExitHookTest, PinnedHookActsWithoutTheDaemonAndIsTakenOver) {
  gate().set_flags(GateFlags::kHoldOnDeath);
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    ExitHook hook = value_of(ExitHook::install({kPins}));
    const bool done = hook.pinned() && hook.protect(cgroup_id_, gate()).has_value();
    if (!done) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, 0), daemon);
  ASSERT_TRUE(WIFSIGNALED(status)) << "this host cannot pin: " << status;
  const Process process = start({});
  kill_and_reap(process);
  EXPECT_TRUE(gate().held());
  EXPECT_FALSE(ended(process, kSilenceMs));

  ExitHook hook = value_of(ExitHook::install({kPins}));
  EXPECT_TRUE(hook.pinned());
  EXPECT_THAT(value_of(hook.protected_cgroups()), ElementsAre(cgroup_id_));
  const auto deaths = deaths_of(hook);
  ASSERT_EQ(deaths.size(), 1u) << "what nobody read is still to be read";
  EXPECT_EQ(deaths[0].process_id, process.pid);
  ASSERT_OK(ExitHook::uninstall({kPins}));
  ASSERT_OK(ExitHook::uninstall({kPins}));
}

TEST_F(ExitHookTest, WithoutPinningItWorksWhileHeldAndSaysWhy) {
  ExitHook hook = value_of(ExitHook::install({"/proc/no-such-directory"}));
  EXPECT_FALSE(hook.pinned());
  EXPECT_THAT(hook.unpinned_reason(), testing::HasSubstr("/proc/no-such-directory"));
  gate().set_flags(GateFlags::kHoldOnDeath);
  ASSERT_OK(hook.protect(cgroup_id_, gate()));
  const Process process = start({});
  kill_and_reap(process);
  EXPECT_TRUE(gate().held());
}

TEST_F(ExitHookTest, CgroupIdRefusesOtherFileSystems) {
  EXPECT_EQ(cgroup_id("/proc").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(cgroup_id("/no/such").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace perdure::network
