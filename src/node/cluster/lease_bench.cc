// Measures what a heartbeat and the grant that answers it take between two processes while the processors are busy: over the
// loopback or, with --veth (root), from one network namespace to another. Both ends have a real-time thread; a heartbeat goes
// out each interval, and its time is from before it is encoded until its grant is decoded.
//
//   lease_bench [--veth] [--hogs N] [--rows N] [--rounds N] [--priority realtime|nice|normal]
//
// `hogs` spin at normal priority. `nice` and `normal` are what is left where real-time scheduling is refused.
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <format>
#include <fstream>
#include <latch>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "io/datagram.h"
#include "io/realtime_thread.h"
#include "node/cluster/lease_codec.h"
#include "pki/sealed_channel.h"

namespace perdure::node {
namespace {

namespace lease = policy::lease;

constexpr Duration kInterval = std::chrono::milliseconds(5);
constexpr Duration kGrant = std::chrono::milliseconds(250);
constexpr std::uint16_t kOwnerPort = 7403;
constexpr std::uint16_t kStandbyPort = 7404;

struct Settings {
  bool veth = false;
  int hogs = 4;
  int rows = 40;
  int rounds = 4000;
  std::string priority = "realtime";
};

Duration cpu_time() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Duration(time.tv_nsec);
}

pki::SealedChannel channel_of(pki::ChannelRole role) {
  std::array<std::byte, 32> material{};
  material.fill(std::byte{42});
  auto keys = pki::ChannelKeys::derive(material, role).value();
  const pki::ChannelKeyId id = keys.id();
  pki::SealedChannel channel;
  channel.install(std::move(keys));
  channel.confirm(id);
  return channel;
}

std::vector<lease::Row> rows_of(const Settings& settings) {
  std::vector<lease::Row> rows;
  for (int i = 0; i < settings.rows; ++i) {
    rows.push_back({ContainerName::parse(std::format("shop-frontend-{}", i)).value(), Term{100}});
  }
  return rows;
}

// One node: a socket, a channel and a thread.
class End {
 public:
  End(const io::Endpoint& self, const io::Endpoint& peer, pki::ChannelRole role)
      : peer_(peer),
        socket_(io::DatagramSocket::bind(self).value()),
        channel_(channel_of(role)),
        thread_(io::RealtimeThread::create({.name = "leases"}).value()) {
    PERDURE_ASSERT(thread_->watch(socket_.fd(), [this] { receive(); }));
  }
  virtual ~End() { thread_->stop(); }

  void start() {
    PERDURE_ASSERT(thread_->start());
    const io::RealtimeSupport& support = thread_->realtime();
    if (!support.scheduling.works) std::fprintf(stderr, "%s\n", support.scheduling.reason.c_str());
    if (!support.memory.works) std::fprintf(stderr, "%s\n", support.memory.reason.c_str());
  }

 protected:
  virtual void handle(LeaseMessage message) = 0;

  void send(const std::vector<std::string>& contents) {
    for (const std::string& content : contents) {
      const auto sealed = channel_.seal(std::as_bytes(std::span(content))).value();
      const Status sent = socket_.send(peer_, sealed);
      if (!sent) std::fprintf(stderr, "%s\n", sent.error().message().c_str());
    }
  }

  io::RealtimeThread& thread() { return *thread_; }

 private:
  void receive() {
    std::array<std::byte, io::kMaxDatagramBytes> buffer;
    const auto received = socket_.receive(buffer).value();
    if (!received) return;
    const auto content = channel_.open(received->bytes);
    if (content) handle(lease_message_from(*content, name_).value());
  }

  const NodeName name_ = NodeName::parse("peer").value();
  const io::Endpoint peer_;
  io::DatagramSocket socket_;
  pki::SealedChannel channel_;
  std::unique_ptr<io::RealtimeThread> thread_;
};

class Standby final : public End {
 public:
  using End::End;
  ~Standby() override { thread().stop(); }
  Duration cpu() const { return cpu_; }

 private:
  void handle(LeaseMessage message) override {
    auto& heartbeat = std::get<lease::Heartbeat>(message);
    send(to_datagrams(lease::Grant{.from = {heartbeat.from.node, Incarnation{2}},
                                   .to = heartbeat.from.incarnation,
                                   .sequence = heartbeat.sequence,
                                   .grant = heartbeat.grant,
                                   .rows = std::move(heartbeat.rows)}));
    cpu_ = cpu_time();
  }

  Duration cpu_{};
};

class Owner final : public End {
 public:
  Owner(const Settings& settings, const io::Endpoint& self, const io::Endpoint& peer)
      : End(self, peer, pki::ChannelRole::kClient), rounds_(static_cast<std::size_t>(settings.rounds)) {
    round_trips_.reserve(rounds_);
    lateness_.reserve(rounds_);
    sent_.resize(rounds_ + 1);
    heartbeat_.rows = rows_of(settings);
    thread().on_timer([this] { tick(); });
    thread().set_timer(next_);
  }
  ~Owner() override { thread().stop(); }

  void run() {
    start();
    finished_.wait();
    thread().stop();
  }
  std::vector<Duration> round_trips_;
  std::vector<Duration> lateness_;
  Duration cpu_{};

 private:
  void tick() {
    const Instant now = BootClock::now();
    if (heartbeat_.sequence == rounds_) {
      cpu_ = cpu_time() - cpu_before_;
      return finished_.count_down();
    }
    if (heartbeat_.sequence == 0) cpu_before_ = cpu_time();
    lateness_.push_back(now - next_);
    // A round that was late is not followed by a burst.
    next_ = std::max(next_ + kInterval, now);
    thread().set_timer(next_);
    ++heartbeat_.sequence;
    sent_[heartbeat_.sequence] = now;
    send(to_datagrams(heartbeat_));
  }

  void handle(LeaseMessage message) override {
    const auto& grant = std::get<lease::Grant>(message);
    round_trips_.push_back(BootClock::now() - sent_[grant.sequence]);
  }

  const std::size_t rounds_;
  lease::Heartbeat heartbeat_{
      .from = {NodeName::parse("owner").value(), Incarnation{1}}, .sequence = 0, .grant = kGrant, .rows = {}};
  Instant next_ = BootClock::now() + std::chrono::milliseconds(100);
  std::vector<Instant> sent_;  // by sequence
  Duration cpu_before_{};
  std::latch finished_{1};
};

void run_or_die(const std::string& command) {
  if (::system(command.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", command.c_str());
  std::exit(1);
}

template <typename Run>
pid_t start_child(Run run) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  PERDURE_ASSERT(child >= 0);
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) std::_Exit(1);
  run();
  std::_Exit(0);
}

void give_up_real_time(bool nice) {
  if (nice) PERDURE_ASSERT(::setpriority(PRIO_PROCESS, 0, -20) == 0);
  const rlimit none{};
  PERDURE_ASSERT(::setrlimit(RLIMIT_RTPRIO, &none) == 0 && ::setrlimit(RLIMIT_NICE, &none) == 0);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  PERDURE_ASSERT(::syscall(SYS_capget, &header, data.data()) == 0);
  data[CAP_TO_INDEX(CAP_SYS_NICE)].effective &= ~CAP_TO_MASK(CAP_SYS_NICE);
  PERDURE_ASSERT(::syscall(SYS_capset, &header, data.data()) == 0);
}

std::string locked_memory() {
  // Not VmLck of its status, which counts what is reserved.
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Locked:")) return line;
  }
  return "Locked: unknown";
}

double microseconds(Duration duration) { return std::chrono::duration<double, std::micro>(duration).count(); }

void report(const char* name, std::vector<Duration> times) {
  if (times.empty()) return;
  std::ranges::sort(times);
  const auto at = [&](double share) {
    return microseconds(times[static_cast<std::size_t>(share * static_cast<double>(times.size() - 1))]);
  };
  std::printf("%-14s median %7.1f  p99 %8.1f  p99.9 %8.1f  max %8.1f us  (%zu)\n", name, at(0.5), at(0.99), at(0.999),
              at(1), times.size());
}

// Without sockets and threads: each step alone, again and again.
void report_steps(const Settings& settings) {
  constexpr int kTimes = 5000;
  const lease::Heartbeat heartbeat{.from = {NodeName::parse("owner").value(), Incarnation{1}},
                                   .sequence = 1,
                                   .grant = kGrant,
                                   .rows = rows_of(settings)};
  pki::SealedChannel sender = channel_of(pki::ChannelRole::kClient);
  pki::SealedChannel receiver = channel_of(pki::ChannelRole::kServer);
  std::array<Duration, 4> spent{};
  for (int i = 0; i < kTimes; ++i) {
    const Duration t0 = cpu_time();
    const auto contents = to_datagrams(heartbeat);
    const Duration t1 = cpu_time();
    const auto sealed = sender.seal(std::as_bytes(std::span(contents.front()))).value();
    const Duration t2 = cpu_time();
    const auto content = receiver.open(sealed).value();
    const Duration t3 = cpu_time();
    const auto message = lease_message_from(content, heartbeat.from.node);
    const Duration t4 = cpu_time();
    PERDURE_ASSERT(message.has_value());
    const std::array<Duration, 4> steps{t1 - t0, t2 - t1, t3 - t2, t4 - t3};
    for (std::size_t step = 0; step < steps.size(); ++step) spent[step] += steps[step];
  }
  const auto mean = [&](std::size_t step) { return microseconds(spent[step]) / kTimes; };
  std::printf("CPU of one message's steps: encode %.1f, seal %.1f, open %.1f, decode %.1f us\n", mean(0), mean(1), mean(2),
              mean(3));
}

io::Endpoint endpoint(std::string_view host, std::uint16_t port) { return io::Endpoint::parse(host, port).value(); }

struct Hosts {
  io::Endpoint owner;
  io::Endpoint standby;
};

int measure(const Settings& settings) {
  if (settings.veth && (::unshare(CLONE_NEWNET) != 0 || ::system("ip link set lo up") != 0)) {
    std::perror("a network namespace");
    return 1;
  }
  const Hosts hosts{endpoint(settings.veth ? "192.0.2.1" : "127.0.0.1", kOwnerPort),
                    endpoint(settings.veth ? "192.0.2.2" : "127.0.0.1", kStandbyPort)};
  if (settings.priority != "realtime") give_up_real_time(settings.priority == "nice");
  std::array<Pipe, 3> pipes{make_pipe().value(), make_pipe().value(), make_pipe().value()};
  auto& [ready, wired, result] = pipes;
  char token = 0;
  const pid_t standby = start_child([&] {
    if (settings.veth) {
      PERDURE_ASSERT(::unshare(CLONE_NEWNET) == 0);
      PERDURE_ASSERT(::write(ready.write_end.get(), "n", 1) == 1 && ::read(wired.read_end.get(), &token, 1) == 1);
      run_or_die("ip link set lo up && ip address add 192.0.2.2/24 dev bench1 && ip link set bench1 up");
    }
    Duration cpu;
    {
      Standby end(hosts.standby, hosts.owner, pki::ChannelRole::kServer);
      end.start();
      PERDURE_ASSERT(::write(ready.write_end.get(), "r", 1) == 1 && ::read(wired.read_end.get(), &token, 1) == 1);
      cpu = end.cpu();
    }
    PERDURE_ASSERT(::write(result.write_end.get(), &cpu, sizeof cpu) == sizeof cpu);
  });
  if (settings.veth) {
    PERDURE_ASSERT(::read(ready.read_end.get(), &token, 1) == 1);
    run_or_die(std::format(
        "ip link add bench0 type veth peer name bench1 netns {} && ip address add 192.0.2.1/24 dev bench0 && "
        "ip link set bench0 up",
        standby));
    PERDURE_ASSERT(::write(wired.write_end.get(), "w", 1) == 1);
  }
  PERDURE_ASSERT(::read(ready.read_end.get(), &token, 1) == 1);
  std::vector<pid_t> hogs;
  for (int i = 0; i < settings.hogs; ++i) {
    hogs.push_back(start_child([] {
      ::setpriority(PRIO_PROCESS, 0, 0);  // raising the number needs no leave
      for (volatile std::uint64_t count = 0;;) count = count + 1;
    }));
  }
  Owner owner(settings, hosts.owner, hosts.standby);
  owner.run();
  for (const pid_t hog : hogs) {
    ::kill(hog, SIGKILL);
    ::waitpid(hog, nullptr, 0);
  }
  Duration standby_cpu;
  PERDURE_ASSERT(::write(wired.write_end.get(), "s", 1) == 1);
  PERDURE_ASSERT(::read(result.read_end.get(), &standby_cpu, sizeof standby_cpu) == sizeof standby_cpu);
  ::waitpid(standby, nullptr, 0);

  std::printf("%s, %d rows, %d hogs, %s: %zu of %d heartbeats answered, one each %s\n",
              settings.veth ? "veth" : "loopback", settings.rows, settings.hogs, settings.priority.c_str(),
              owner.round_trips_.size(), settings.rounds, format_duration(kInterval).c_str());
  report("round trip", owner.round_trips_);
  report("timer late by", owner.lateness_);
  std::printf("CPU per heartbeat: owner %.1f us, standby %.1f us; %s\n", microseconds(owner.cpu_) / settings.rounds,
              microseconds(standby_cpu) / settings.rounds, locked_memory().c_str());
  report_steps(settings);
  return 0;
}

int usage() {
  std::fprintf(stderr,
               "usage: lease_bench [--veth] [--hogs N] [--rows N] [--rounds N] [--priority realtime|nice|normal]\n");
  return 2;
}

int run(std::span<char*> arguments) {
  Settings settings;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string_view option = arguments[i];
    if (option == "--veth") {
      settings.veth = true;
      continue;
    }
    if (++i == arguments.size()) return usage();
    const std::string_view value = arguments[i];
    if (option == "--priority" && (value == "realtime" || value == "nice" || value == "normal")) {
      settings.priority = value;
      continue;
    }
    int* const number = option == "--hogs"     ? &settings.hogs
                        : option == "--rows"   ? &settings.rows
                        : option == "--rounds" ? &settings.rounds
                                               : nullptr;
    if (number == nullptr) return usage();
    const auto parsed = std::from_chars(value.data(), value.data() + value.size(), *number);
    if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size() || *number < 0) return usage();
  }
  return measure(settings);
}

}  // namespace
}  // namespace perdure::node

int main(int argc, char** argv) { return perdure::node::run({argv, static_cast<std::size_t>(argc)}); }
