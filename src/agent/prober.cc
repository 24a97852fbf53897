#include "agent/prober.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/text.h"

namespace perdure::agent {
namespace {

constexpr std::size_t kMaxAnswer = 1024;  // the first line of one is all that is looked at

// What a child that probes ends with; others are errno values.
constexpr int kPassed = 0;
constexpr int kTooOld = 200;

std::int64_t realtime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string errno_text(int number) {
  const char* text = ::strerrordesc_np(number);
  return text != nullptr ? text : "error " + to_text(number);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

bool make_address(const std::string& address, std::uint16_t port, SocketAddress& result) {
  sockaddr_in four{};
  if (::inet_pton(AF_INET, address.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(port);
    std::memcpy(&result.storage, &four, sizeof four);
    result.size = sizeof four;
    return true;
  }
  sockaddr_in6 six{};
  if (::inet_pton(AF_INET6, address.c_str(), &six.sin6_addr) != 1) return false;
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(port);
  std::memcpy(&result.storage, &six, sizeof six);
  result.size = sizeof six;
  return true;
}

std::string bracketed(const std::string& address) { return address.find(':') == std::string::npos ? address : "[" + address + "]"; }

std::string where(const Probe& probe) {
  struct Where {
    std::string operator()(const ExecProbe& it) const { return "'" + it.command.front() + "'"; }
    std::string operator()(const TcpProbe& it) const { return bracketed(it.address) + ":" + to_text(it.port); }
    std::string operator()(const HttpProbe& it) const { return "http://" + bracketed(it.address) + ":" + to_text(it.port) + it.path; }
    std::string operator()(const RtspProbe& it) const { return "rtsp://" + bracketed(it.address) + ":" + to_text(it.port); }
    std::string operator()(const UnixProbe& it) const { return "'" + it.path + "'"; }
    std::string operator()(const FileProbe& it) const { return "'" + it.path + "'"; }
  };
  return std::visit(Where{}, probe.kind);
}

std::string request_of(const Probe& probe) {
  if (const auto* http = std::get_if<HttpProbe>(&probe.kind)) {
    return "GET " + http->path + " HTTP/1.0\r\nHost: " + bracketed(http->address) + "\r\nUser-Agent: perdure-agent\r\n\r\n";
  }
  return "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: perdure-agent\r\n\r\n";
}

// What is wrong with "HTTP/1.1 200 OK"; nothing: empty.
std::string judge(std::string_view line, std::string_view protocol, int last_good) {
  const auto blank = line.find(' ');
  if (!line.starts_with(protocol) || blank == std::string_view::npos || line.size() < blank + 4) {
    return "answers something else than " + std::string(protocol.substr(0, protocol.size() - 1));
  }
  const std::string_view digits = line.substr(blank + 1, 3);
  int status = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return "answers without a status";
    status = status * 10 + (digit - '0');
  }
  return status >= 200 && status <= last_good ? std::string() : "answers " + to_text(status);
}

int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return errno;
  return kPassed;
}

int look_at(const FileProbe& probe) {
  struct stat info{};
  if (::stat(probe.path.c_str(), &info) != 0) return errno;
  const std::int64_t changed = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  return realtime_ns() - changed > probe.max_age.count() ? kTooOld : kPassed;
}

}  // namespace

void Prober::connect(Flight& flight, const std::string& address, std::uint16_t port, std::string& error) {
  SocketAddress to;
  if (!make_address(address, port, to)) {
    error = "is no address";
    return;
  }
  flight.socket = Descriptor(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!flight.socket) {
    error = errno_text(errno);
    return;
  }
  if (::connect(flight.socket.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.size) != 0 && errno != EINPROGRESS) {
    error = errno_text(errno);
  }
}

std::optional<ProbeEnded> Prober::begin(std::size_t component, std::uint32_t run, Instant now) {
  const Component& it = configuration_.components[component];
  const Probe& probe = *it.probe;
  Flight& flight = flights_[component];
  flight = Flight{};
  flight.run = run;
  flight.begun_realtime_ns = realtime_ns();
  flight.deadline = now + probe.timeout;
  std::string error;
  struct Begin {
    Prober& self;
    const Component& component;
    Flight& flight;
    std::string& error;
    void operator()(const ExecProbe& probe) const { flight.child = self.processes_.start_quietly(component, probe.command, error); }
    void operator()(const TcpProbe& probe) const { self.connect(flight, probe.address, probe.port, error); }
    void operator()(const HttpProbe& probe) const { self.connect(flight, probe.address, probe.port, error); }
    void operator()(const RtspProbe& probe) const { self.connect(flight, probe.address, probe.port, error); }
    void operator()(const UnixProbe& probe) const {
      flight.child = self.processes_.start_inside(component, [&] { return connect_to(probe.path); }, error);
    }
    void operator()(const FileProbe& probe) const {
      flight.child = self.processes_.start_inside(component, [&] { return look_at(probe); }, error);
    }
  };
  std::visit(Begin{*this, it, flight, error}, probe.kind);
  if (error.empty()) return std::nullopt;
  return end(component, where(probe) + ": " + error);
}

void Prober::cancel(std::size_t component) {
  const auto flight = flights_.find(component);
  if (flight == flights_.end()) return;
  if (flight->second.child > 0) Processes::signal_group(flight->second.child, SIGKILL);
  flights_.erase(flight);
}

std::optional<Instant> Prober::next_deadline() const {
  std::optional<Instant> next;
  for (const auto& [component, flight] : flights_) {
    if (!next || flight.deadline < *next) next = flight.deadline;
  }
  return next;
}

void Prober::add_polls(std::vector<pollfd>& polls) const {
  for (const auto& [component, flight] : flights_) {
    if (!flight.socket) continue;
    polls.push_back({flight.socket.get(), static_cast<short>(flight.connected ? POLLIN : POLLOUT), 0});
  }
}

ProbeEnded Prober::end(std::size_t component, std::string why) {
  const Flight& flight = flights_[component];
  ProbeEnded event{.component = component,
                   .run = flight.run,
                   .passed = why.empty(),
                   .begun_realtime_ns = flight.begun_realtime_ns,
                   .reason = std::move(why)};
  cancel(component);
  return event;
}

std::optional<std::string> Prober::progress(const Probe& probe, Flight& flight) const {
  if (!flight.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(flight.socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return errno_text(error);
    flight.connected = true;
    if (std::holds_alternative<TcpProbe>(probe.kind)) return std::string();
    const std::string request = request_of(probe);
    // A new connection's buffer takes it whole.
    if (::send(flight.socket.get(), request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
      return "takes no request: " + errno_text(errno);
    }
    return std::nullopt;
  }
  char buffer[kMaxAnswer];
  const ssize_t got = ::recv(flight.socket.get(), buffer, sizeof buffer, 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR ? std::nullopt : std::optional(errno_text(errno));
  flight.answer.append(buffer, static_cast<std::size_t>(got));
  const auto line_end = flight.answer.find('\n');
  if (line_end == std::string::npos) {
    if (got == 0) return "closes without an answer";
    if (flight.answer.size() > kMaxAnswer) return "answers with an endless line";
    return std::nullopt;
  }
  const std::string_view line = std::string_view(flight.answer).substr(0, line_end);
  return std::holds_alternative<HttpProbe>(probe.kind) ? judge(line, "HTTP/", 399) : judge(line, "RTSP/", 299);
}

std::vector<ProbeEnded> Prober::look(const std::vector<pollfd>& polls) {
  std::vector<ProbeEnded> ended;
  for (std::size_t i = 0; i < configuration_.components.size(); ++i) {
    const auto flight = flights_.find(i);
    if (flight == flights_.end() || !flight->second.socket) continue;
    const int fd = flight->second.socket.get();
    if (std::ranges::none_of(polls, [&](const pollfd& poll) { return poll.fd == fd && poll.revents != 0; })) continue;
    const Probe& probe = *configuration_.components[i].probe;
    auto result = progress(probe, flight->second);
    if (!result) continue;
    ended.push_back(end(i, result->empty() ? std::string() : where(probe) + ": " + *result));
  }
  return ended;
}

std::optional<ProbeEnded> Prober::child_ended(const ChildEnd& ended) {
  const auto flight = std::ranges::find_if(flights_, [&](const auto& one) { return one.second.child == ended.pid; });
  if (flight == flights_.end()) return std::nullopt;
  const std::size_t component = flight->first;
  flight->second.child = 0;  // reaped: its number is somebody else's from here on
  const Probe& probe = *configuration_.components[component].probe;
  const bool own_code = !std::holds_alternative<ExecProbe>(probe.kind);
  std::string why;
  if (ended.how == Exited::How::kNotStarted) {
    why = ended.reason;
  } else if (ended.how == Exited::How::kSignalled) {
    why = where(probe) + " was killed by signal " + to_text(ended.value);
  } else if (ended.value == kTooOld && own_code) {
    why = where(probe) + " has not been changed for too long";
  } else if (ended.value != 0) {
    why = where(probe) + (own_code ? ": " + errno_text(ended.value) : " exited with code " + to_text(ended.value));
  }
  return end(component, std::move(why));
}

std::vector<ProbeEnded> Prober::pass_time(Instant now) {
  std::vector<std::size_t> late;
  for (const auto& [component, flight] : flights_) {
    if (flight.deadline <= now) late.push_back(component);
  }
  std::vector<ProbeEnded> ended;
  for (const std::size_t component : late) {
    const Probe& probe = *configuration_.components[component].probe;
    ended.push_back(end(component, where(probe) + ": no answer within " + to_text(probe.timeout.count() / 1'000'000) + " ms"));
  }
  return ended;
}

}  // namespace perdure::agent
