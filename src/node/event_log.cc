#include "node/event_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <format>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/log.h"

namespace perdure::node {
namespace {

using Json = nlohmann::json;
using control::v1::Event;
using control::v1::Severity;

// Of the end of a file, at start: more than keep_in_memory events of the usual 200 to 400 bytes take.
constexpr std::uint64_t kTailBytes = 4u << 20;

constexpr std::array<std::pair<Severity, std::string_view>, 3> kSeverities{{
    {control::v1::SEVERITY_INFO, "info"},
    {control::v1::SEVERITY_WARNING, "warning"},
    {control::v1::SEVERITY_ERROR, "error"},
}};

std::string_view word_of(Severity severity) {
  const auto found = std::ranges::find(kSeverities, severity, [](const auto& row) { return row.first; });
  return found == kSeverities.end() ? "info" : found->second;
}

Severity severity_of(std::string_view word) {
  const auto found = std::ranges::find(kSeverities, word, [](const auto& row) { return row.second; });
  return found == kSeverities.end() ? control::v1::SEVERITY_INFO : found->first;
}

std::string to_line(const Event& event) {
  Json json = {{"sequence", event.sequence()},
               {"time_unix_ms", event.time_unix_ms()},
               {"severity", std::string(word_of(event.severity()))},
               {"container", event.container()},
               {"kind", event.kind()},
               {"text", event.text()}};
  if (!event.reason().empty()) json["reason"] = event.reason();
  if (!event.generation().empty()) json["generation"] = event.generation();
  for (const auto& [name, value] : event.durations_ns()) json["durations_ns"][name] = value;
  // Reasons may hold bytes of a container that are no UTF-8.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<Event> from_line(std::string_view line) {
  try {
    const Json json = Json::parse(line);
    Event event;
    event.set_sequence(json.at("sequence").get<std::uint64_t>());
    event.set_time_unix_ms(json.at("time_unix_ms").get<std::int64_t>());
    event.set_severity(severity_of(json.at("severity").get<std::string>()));
    event.set_container(json.at("container").get<std::string>());
    event.set_kind(json.at("kind").get<std::string>());
    event.set_text(json.at("text").get<std::string>());
    event.set_reason(json.value("reason", ""));
    event.set_generation(json.value("generation", ""));
    if (json.contains("durations_ns")) {
      for (const auto& [name, value] : json.at("durations_ns").items()) {
        (*event.mutable_durations_ns())[name] = value.get<std::int64_t>();
      }
    }
    if (event.sequence() == 0) return std::nullopt;
    return event;
  } catch (const std::exception&) {
    return std::nullopt;  // torn by a crash, or foreign
  }
}

// The last kTailBytes; empty if there is no such file.
Result<std::string> read_tail(const std::string& path) {
  auto file = open_file(path, O_RDONLY);
  if (!file) {
    if (file.error().code() == ErrorCode::kNotFound) return std::string();
    return fail(std::move(file).error());
  }
  struct stat status{};
  if (::fstat(file->get(), &status) != 0) return fail_errno(std::format("look at '{}'", path));
  const auto size = static_cast<std::uint64_t>(status.st_size);
  std::string text(std::min(size, kTailBytes), '\0');
  PERDURE_ASSIGN(const std::size_t got,
                 read_at(file->get(), std::as_writable_bytes(std::span(text)), size - text.size(),
                         std::format("'{}'", path)));
  text.resize(got);
  return text;
}

}  // namespace

Result<EventLog> EventLog::open(EventLogOptions options, const Clock& clock) {
  EventLog log(std::move(options), clock);
  if (!log.options_.path.empty()) PERDURE_TRY(log.load());
  return log;
}

Status EventLog::load() {
  bool torn = false;
  for (const std::string& path : {options_.path + ".1", options_.path}) {
    PERDURE_ASSIGN(const std::string text, read_tail(path));
    torn = !text.empty() && text.back() != '\n';
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t end = rest.find('\n');
      if (auto event = from_line(rest.substr(0, end)); event && event->sequence() >= next_sequence_) {
        next_sequence_ = event->sequence() + 1;
        events_.push_back(*std::move(event));
        if (events_.size() > options_.keep_in_memory) events_.pop_front();
      }
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
  }
  PERDURE_ASSIGN(file_, open_file(options_.path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0) return fail_errno(std::format("look at '{}'", options_.path));
  file_bytes_ = static_cast<std::uint64_t>(status.st_size);
  // What a crash tore must not swallow the next line.
  if (torn) PERDURE_TRY(write_all(file_.get(), std::as_bytes(std::span("\n", 1)), options_.path));
  return {};
}

void EventLog::append(Event event) {
  event.set_sequence(next_sequence_++);
  event.set_time_unix_ms(std::chrono::duration_cast<std::chrono::milliseconds>(clock_->wall().time_since_epoch())
                             .count());
  if (event.severity() == control::v1::SEVERITY_UNSPECIFIED) event.set_severity(control::v1::SEVERITY_INFO);
  write_line(event);
  events_.push_back(event);
  if (events_.size() > options_.keep_in_memory) events_.pop_front();
  std::vector<std::uint64_t> ids;
  for (const auto& [id, subscriber] : subscribers_) ids.push_back(id);
  for (const std::uint64_t id : ids) {
    const auto found = subscribers_.find(id);
    if (found == subscribers_.end()) continue;
    const Subscriber subscriber = found->second;  // it may unsubscribe
    subscriber(event);
  }
}

void EventLog::write_line(const Event& event) {
  if (!file_) return;
  const std::string line = to_line(event);
  if (file_bytes_ > 0 && file_bytes_ + line.size() > options_.file_limit_bytes) {
    const std::string old = options_.path + ".1";
    if (::rename(options_.path.c_str(), old.c_str()) == 0) {
      if (auto fresh = open_file(options_.path, O_WRONLY | O_CREAT | O_APPEND, 0600)) {
        file_ = *std::move(fresh);
        file_bytes_ = 0;
      }
    }
  }
  const Status written = write_all(file_.get(), std::as_bytes(std::span(line)), options_.path);
  if (written) {
    file_bytes_ += line.size();
    write_failed_ = false;
  } else if (!write_failed_) {
    write_failed_ = true;
    log::error("{}; events are kept in memory only until it can be written again", written.error().message());
  }
}

std::uint64_t EventLog::subscribe(Subscriber subscriber) {
  subscribers_[next_subscriber_] = std::move(subscriber);
  return next_subscriber_++;
}

void EventLog::unsubscribe(std::uint64_t id) { subscribers_.erase(id); }

}  // namespace perdure::node
