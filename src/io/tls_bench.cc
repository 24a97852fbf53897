// Measures the transport between nodes against plain TCP: one body at a time from this process to a child, over the
// loopback or, with --veth (root), from one network namespace to another. Each time is from send() to the
// receiver's one byte of answer; best and median of several rounds. Last line: one JSON object.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <format>
#include <string>
#include <vector>

#include "base/fd.h"
#include "io/loop.h"
#include "io/process.h"
#include "io/tls.h"
#include "io/tls_test_support.h"

namespace perdure::io {
namespace {

constexpr Duration kLimit = std::chrono::seconds(60);

struct Case {
  const char* name;
  std::size_t bytes;
  int rounds;
};
constexpr Case kCases[] = {
    {"4 kB", 4096, 400}, {"2 MB", 2 << 20, 60}, {"26 MB", 26 << 20, 25}, {"200 MB", 200 << 20, 7}};

struct Times {
  double best_ms = 0;
  double median_ms = 0;
};

double cpu_ms(int who) {
  rusage usage{};
  ::getrusage(who, &usage);
  const auto ms = [](const timeval& t) {
    return 1e3 * static_cast<double>(t.tv_sec) + 1e-3 * static_cast<double>(t.tv_usec);
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

struct Cpu {
  double sender_ms = 0;
  double receiver_ms = 0;
  static Cpu used() { return {cpu_ms(RUSAGE_SELF), cpu_ms(RUSAGE_CHILDREN)}; }
};

// Steadier than the time on a busy machine.
void report_cpu(const char* name, const Cpu& before) {
  double megabytes = 0;
  for (const Case& one : kCases) megabytes += static_cast<double>(one.bytes) * one.rounds / 1e6;
  const Cpu now = Cpu::used();
  std::printf("%s: CPU per 26 MB: sender %.1f ms, receiver %.1f ms\n", name,
              27.26 * (now.sender_ms - before.sender_ms) / megabytes,
              27.26 * (now.receiver_ms - before.receiver_ms) / megabytes);
}

Times summary(std::vector<double> times) {
  std::ranges::sort(times);
  return {times.front(), times[times.size() / 2]};
}

std::byte* big_memory(std::size_t bytes) {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  PERDURE_ASSERT(memory != MAP_FAILED);
  std::memset(memory, 'x', bytes);
  return static_cast<std::byte*>(memory);
}

void transfer(int fd, std::byte* at, std::size_t bytes, bool out) {
  while (bytes > 0) {
    const ssize_t done = out ? ::send(fd, at, bytes, MSG_NOSIGNAL) : ::recv(fd, at, bytes, 0);
    PERDURE_ASSERT(done > 0);
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
}

// --- plain TCP, blocking, as fast as it gets

int tcp_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  const int large = 4 << 20;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
  return fd;
}

sockaddr_in address_of(const std::string& host, int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  return address;
}

constexpr int kTcpPort = 7401;
constexpr int kTlsPort = 7402;

void receive_tcp(const std::string& host, std::byte* memory, int ready) {
  const int listener = tcp_socket();
  const sockaddr_in address = address_of(host, kTcpPort);
  PERDURE_ASSERT(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  PERDURE_ASSERT(::listen(listener, 1) == 0 && ::write(ready, "r", 1) == 1);
  const int fd = ::accept(listener, nullptr, nullptr);
  for (const Case& one : kCases) {
    for (int i = 0; i < one.rounds; ++i) {
      transfer(fd, memory, one.bytes, false);
      std::byte answer{};
      transfer(fd, &answer, 1, true);
    }
  }
}

std::vector<Times> send_tcp(const std::string& host, std::byte* memory) {
  const int fd = tcp_socket();
  const sockaddr_in address = address_of(host, kTcpPort);
  PERDURE_ASSERT(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  std::vector<Times> results;
  for (const Case& one : kCases) {
    std::vector<double> times;
    for (int i = 0; i < one.rounds; ++i) {
      const Instant begin = BootClock::now();
      transfer(fd, memory, one.bytes, true);
      std::byte answer{};
      transfer(fd, &answer, 1, false);
      times.push_back(to_milliseconds(BootClock::now() - begin));
    }
    results.push_back(summary(std::move(times)));
  }
  return results;
}

// --- ours

std::shared_ptr<const TlsContext> context_for(const TlsIdentity& identity) {
  TlsOptions options;
  options.identity = identity;
  return TlsContext::create(std::move(options)).value();
}

void receive_tls(const std::string& host, std::byte* memory, const TlsIdentity& identity, int ready) {
  const auto loop = Loop::create().value();
  bool over = false;
  TlsHandlers handlers;
  handlers.on_body = [&](TlsConnection&, std::string_view, std::uint64_t bytes) -> Result<IncomingBody> {
    return IncomingBody{{memory, static_cast<std::size_t>(bytes)}, nullptr};
  };
  handlers.on_frame = [&](TlsConnection& connection, std::string, IncomingBody) {
    PERDURE_ASSERT(connection.send("y"));
  };
  handlers.on_close = [&](TlsConnectionId, const TlsPeer&, const Error&) { over = true; };
  TlsServerOptions options;
  options.addresses = {host + ":" + std::to_string(kTlsPort)};
  const auto server = TlsServer::listen(*loop, options, context_for(identity), std::move(handlers)).value();
  PERDURE_ASSERT(::write(ready, "r", 1) == 1);
  PERDURE_ASSERT(loop->run_until([&] { return over; }, kLimit * 10));
}

std::vector<Times> send_tls(const std::string& host, std::byte* memory, const TlsIdentity& identity) {
  const auto loop = Loop::create().value();
  int answers = 0;
  bool opened = false;
  TlsHandlers handlers;
  handlers.on_open = [&](TlsConnection&) { opened = true; };
  handlers.on_frame = [&](TlsConnection&, std::string, IncomingBody) { ++answers; };
  TlsClientOptions options;
  options.address = host + ":" + std::to_string(kTlsPort);
  const auto client =
      TlsClient::connect(*loop, options, context_for(identity), std::move(handlers), [](const Error& why) {
        std::fprintf(stderr, "%s\n", why.message().c_str());
      }).value();
  PERDURE_ASSERT(loop->run_until([&] { return opened; }, kLimit));
  std::vector<Times> results;
  for (const Case& one : kCases) {
    std::vector<double> times;
    for (int i = 0; i < one.rounds; ++i) {
      const Instant begin = BootClock::now();
      const int before = answers;
      OutgoingBody body;
      body.pieces = {{memory, one.bytes}};
      PERDURE_ASSERT(client->connection()->send("delta", std::move(body)));
      PERDURE_ASSERT(loop->run_until([&] { return answers > before; }, kLimit));
      times.push_back(to_milliseconds(BootClock::now() - begin));
    }
    results.push_back(summary(std::move(times)));
  }
  return results;
}

// --- two processes, maybe in two network namespaces

void run_or_die(const std::string& command) {
  if (::system(command.c_str()) != 0) {
    std::fprintf(stderr, "failed: %s\n", command.c_str());
    std::exit(1);
  }
}

template <typename Receive>
pid_t start_receiver(bool veth, Receive receive) {
  Pipe ready = make_pipe().value();
  Pipe wired = make_pipe().value();
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  PERDURE_ASSERT(child >= 0);
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1);
    char token = 0;
    if (veth) {
      PERDURE_ASSERT(::unshare(CLONE_NEWNET) == 0);
      PERDURE_ASSERT(::write(ready.write_end.get(), "n", 1) == 1 && ::read(wired.read_end.get(), &token, 1) == 1);
      run_or_die("ip link set lo up && ip address add 192.0.2.2/24 dev bench1 && ip link set bench1 up");
    }
    receive(ready.write_end.get());
    std::_Exit(0);
  }
  char token = 0;
  if (veth) {
    PERDURE_ASSERT(::read(ready.read_end.get(), &token, 1) == 1);
    run_or_die(std::format(
        "ip link add bench0 type veth peer name bench1 netns {} && ip address add 192.0.2.1/24 dev bench0 && "
        "ip link set bench0 up",
        child));
    PERDURE_ASSERT(::write(wired.write_end.get(), "w", 1) == 1);
  }
  PERDURE_ASSERT(::read(ready.read_end.get(), &token, 1) == 1);
  return child;
}

void end_receiver(pid_t child, bool veth) {
  int status = 0;
  ::waitpid(child, &status, 0);
  if (veth) run_or_die("ip link del bench0 2>/dev/null; true");
}

int measure(bool veth) {
  if (veth && (::unshare(CLONE_NEWNET) != 0 || ::system("ip link set lo up") != 0)) {
    std::perror("a network namespace");
    return 1;
  }
  const std::string host = veth ? "192.0.2.2" : "127.0.0.1";
  std::byte* const memory = big_memory(200 << 20);
  const TestAuthority authority;
  const TlsIdentity sender = authority.identity("a");
  const TlsIdentity receiver = authority.identity("b");

  Cpu before = Cpu::used();
  pid_t child = start_receiver(veth, [&](int ready) { receive_tcp(host, memory, ready); });
  const std::vector<Times> tcp = send_tcp(host, memory);
  end_receiver(child, veth);
  report_cpu("TCP", before);
  before = Cpu::used();
  child = start_receiver(veth, [&](int ready) { receive_tls(host, memory, receiver, ready); });
  const std::vector<Times> tls = send_tls(host, memory, sender);
  end_receiver(child, veth);
  report_cpu("TLS", before);

  std::string json = "{";
  for (std::size_t i = 0; i < std::size(kCases); ++i) {
    std::printf("%-7s TCP best %8.3f median %8.3f ms   TLS best %8.3f median %8.3f ms   ratio %.2f\n", kCases[i].name,
                tcp[i].best_ms, tcp[i].median_ms, tls[i].best_ms, tls[i].median_ms,
                tls[i].median_ms / tcp[i].median_ms);
    json += std::format("{}\"{}\": {{\"tcp_ms\": {:.3f}, \"tls_ms\": {:.3f}}}", i > 0 ? ", " : "", kCases[i].name,
                        tcp[i].median_ms, tls[i].median_ms);
  }
  std::printf("%s}\n", json.c_str());
  return 0;
}

}  // namespace
}  // namespace perdure::io

int main(int argc, char** argv) {
  return perdure::io::measure(argc > 1 && std::string_view(argv[1]) == "--veth");
}
