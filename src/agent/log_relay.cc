#include "agent/log_relay.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

namespace perdure::agent {
namespace {

constexpr std::size_t kMaxWaiting = std::size_t{64} << 10;  // of a sink, before sources are held up
constexpr std::size_t kMaxLine = std::size_t{8} << 10;      // a longer one is passed on in parts

bool is_ready(const std::vector<pollfd>& polls, int fd, int events) {
  return std::ranges::any_of(polls, [&](const pollfd& poll) {
    return poll.fd == fd && (poll.events & events) != 0 && poll.revents != 0;
  });
}

}  // namespace

LogRelay::LogRelay(int standard, int error) {
  sinks_[0].fd = standard;
  sinks_[1].fd = error;
  for (const Sink& sink : sinks_) ::fcntl(sink.fd, F_SETFL, ::fcntl(sink.fd, F_GETFL) | O_NONBLOCK);
}

void LogRelay::add(std::string_view component, Descriptor standard, Descriptor error) {
  const std::string prefix = std::string(component) + " | ";
  sources_.push_back({prefix, std::move(standard), 0, {}});
  sources_.push_back({prefix, std::move(error), 1, {}});
}

void LogRelay::say(std::string_view text) {
  Sink& sink = sinks_[1];
  if (sink.waiting.size() > kMaxWaiting) return;
  sink.waiting += "perdure-agent: ";
  sink.waiting += text;
  sink.waiting += '\n';
  write_to(sink);
}

void LogRelay::add_polls(std::vector<pollfd>& polls) const {
  for (const Sink& sink : sinks_) {
    if (!sink.waiting.empty()) polls.push_back({sink.fd, POLLOUT, 0});
  }
  for (const Source& source : sources_) {
    if (sinks_[source.sink].waiting.size() < kMaxWaiting) polls.push_back({source.fd.get(), POLLIN, 0});
  }
}

void LogRelay::look(const std::vector<pollfd>& polls) {
  for (auto source = sources_.begin(); source != sources_.end();) {
    const bool ended = is_ready(polls, source->fd.get(), POLLIN) && !read_from(*source);
    source = ended ? sources_.erase(source) : std::next(source);
  }
  for (Sink& sink : sinks_) write_to(sink);
}

void LogRelay::drain() {
  for (auto source = sources_.begin(); source != sources_.end();) {
    source = read_from(*source) ? std::next(source) : sources_.erase(source);
  }
  for (Sink& sink : sinks_) write_to(sink);
}

bool LogRelay::read_from(Source& source) {
  char buffer[16384];
  const ssize_t got = ::read(source.fd.get(), buffer, sizeof buffer);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  std::string_view text(buffer, static_cast<std::size_t>(got));
  while (!text.empty()) {
    const auto end = text.find('\n');
    source.partial += text.substr(0, end);
    if (end == std::string_view::npos && source.partial.size() < kMaxLine) break;
    pass_on(source, source.partial);
    source.partial.clear();
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  if (got == 0 && !source.partial.empty()) pass_on(source, source.partial);
  return got > 0;
}

void LogRelay::pass_on(const Source& source, std::string_view line) {
  Sink& sink = sinks_[source.sink];
  if (sink.gone) return;
  sink.waiting += source.prefix;
  sink.waiting += line;
  sink.waiting += '\n';
}

void LogRelay::write_to(Sink& sink) {
  while (!sink.waiting.empty()) {
    const ssize_t written = ::write(sink.fd, sink.waiting.data(), sink.waiting.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) return;
    if (written <= 0) {
      sink.gone = true;
      sink.waiting.clear();
      return;
    }
    sink.waiting.erase(0, static_cast<std::size_t>(written));
  }
}

}  // namespace perdure::agent
