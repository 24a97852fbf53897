#include "agent/configuration.h"

#include <limits>

#include "agent/text.h"

namespace perdure::agent {
namespace {

constexpr std::string_view kHeader = "perdure-agent-configuration";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxId = std::numeric_limits<std::uint32_t>::max();
constexpr std::int64_t kMaxTime = std::int64_t{86'400} * 1'000'000'000;  // a day
constexpr std::size_t kMaxText = std::size_t{32} << 10;  // of one argument or variable
constexpr std::size_t kMaxPath = 4095;
constexpr std::size_t kMaxSocketPath = 107;  // sun_path (unix(7)) without its end
constexpr std::size_t kMaxItems = 4096;      // arguments or variables of a component
constexpr int kLastSignal = 64;

// ---- Writing ----

std::string probe_line(const Probe& probe) {
  Line line("probe");
  line.add(probe.interval.count()).add(probe.timeout.count()).add(probe.failures).add(probe.successes).add(probe.grace.count());
  struct Kind {
    Line& line;
    void operator()(const ExecProbe& it) const {
      line.add("exec");
      for (const std::string& argument : it.command) line.add(argument);
    }
    void operator()(const TcpProbe& it) const { line.add("tcp").add(it.address).add(it.port); }
    void operator()(const HttpProbe& it) const { line.add("http").add(it.address).add(it.port).add(it.path); }
    void operator()(const RtspProbe& it) const { line.add("rtsp").add(it.address).add(it.port); }
    void operator()(const UnixProbe& it) const { line.add("unix").add(it.path); }
    void operator()(const FileProbe& it) const { line.add("file").add(it.path).add(it.max_age.count()); }
  };
  std::visit(Kind{line}, probe.kind);
  return line.text();
}

std::string component_text(const Component& it) {
  std::string text = Line("component").add(it.name).add(it.stateful ? 1 : 0).text();
  for (const std::string& argument : it.command) text += Line("argument").add(argument).text();
  for (const std::string& variable : it.environment) text += Line("environment").add(variable).text();
  text += Line("directory").add(it.directory).text();
  Line user("user");
  user.add(it.uid).add(it.gid);
  for (const std::uint32_t group : it.groups) user.add(group);
  text += user.text();
  const auto limit = [&](std::string_view what, const std::optional<std::uint64_t>& value) {
    if (value) text += Line("limit").add(what).add(static_cast<std::int64_t>(*value)).text();
  };
  limit("open-files", it.limits.open_files);
  limit("core-size", it.limits.core_size);
  limit("file-size", it.limits.file_size);
  limit("address-space", it.limits.address_space);
  for (const Dependency& on : it.depends_on) {
    text += Line("depends")
                .add(static_cast<std::int64_t>(on.component))
                .add(static_cast<int>(on.until))
                .add(static_cast<int>(on.on_restart))
                .add(on.signal)
                .text();
  }
  const Restart& restart = it.restart;
  text += Line("restart")
              .add(restart.always ? 1 : 0)
              .add(restart.limit)
              .add(restart.window.count())
              .add(restart.delay.count())
              .add(restart.delay_limit.count())
              .text();
  if (it.probe) text += probe_line(*it.probe);
  return text + Line("stop").add(it.stop_signal).add(it.stop_deadline.count()).text();
}

// ---- Reading ----

ProbeKind probe_kind(Fields& fields) {
  const std::string kind = fields.text(16);
  const auto address = [&] { return fields.text(64); };
  const auto port = [&] { return static_cast<std::uint16_t>(fields.number(1, 65535)); };
  if (kind == "exec") {
    ExecProbe probe;
    while (fields.has_more() && probe.command.size() < kMaxItems) probe.command.push_back(fields.text(kMaxText));
    if (probe.command.empty()) fields.spoil();
    return probe;
  }
  // Braces are evaluated in order.
  if (kind == "tcp") return TcpProbe{address(), port()};
  if (kind == "http") return HttpProbe{address(), port(), fields.text(1024)};
  if (kind == "rtsp") return RtspProbe{address(), port()};
  if (kind == "unix") return UnixProbe{fields.text(kMaxSocketPath)};
  if (kind == "file") return FileProbe{fields.text(kMaxPath), Duration(fields.number(1, kMaxTime))};
  fields.spoil();
  return {};
}

Probe read_probe(Fields& fields) {
  Probe probe;
  probe.interval = Duration(fields.number(1, kMaxTime));
  probe.timeout = Duration(fields.number(1, kMaxTime));
  probe.failures = static_cast<std::uint32_t>(fields.number(1, 1000));
  probe.successes = static_cast<std::uint32_t>(fields.number(1, 1000));
  probe.grace = Duration(fields.number(0, kMaxTime));
  probe.kind = probe_kind(fields);
  return probe;
}

void read_limit(Fields& fields, Limits& limits) {
  const std::string what = fields.text(16);
  const auto value = static_cast<std::uint64_t>(fields.number(0, kMax));
  if (what == "open-files") {
    limits.open_files = value;
  } else if (what == "core-size") {
    limits.core_size = value;
  } else if (what == "file-size") {
    limits.file_size = value;
  } else if (what == "address-space") {
    limits.address_space = value;
  } else {
    fields.spoil();
  }
}

// One line of a component.
void read_component_line(Fields& fields, Component& it) {
  const std::string_view word = fields.word();
  if (word == "argument") {
    it.command.push_back(fields.text(kMaxText));
  } else if (word == "environment") {
    it.environment.push_back(fields.text(kMaxText));
  } else if (word == "directory") {
    it.directory = fields.text(kMaxPath);
  } else if (word == "user") {
    it.uid = static_cast<std::uint32_t>(fields.number(0, kMaxId));
    it.gid = static_cast<std::uint32_t>(fields.number(0, kMaxId));
    while (fields.has_more() && it.groups.size() < kMaxItems) {
      it.groups.push_back(static_cast<std::uint32_t>(fields.number(0, kMaxId)));
    }
  } else if (word == "limit") {
    read_limit(fields, it.limits);
  } else if (word == "depends") {
    Dependency on;
    on.component = static_cast<std::size_t>(fields.number(0, kMaxComponents - 1));
    on.until = static_cast<Until>(fields.number(0, 2));
    on.on_restart = static_cast<Dependency::OnRestart>(fields.number(0, 2));
    on.signal = static_cast<int>(fields.number(0, kLastSignal));
    it.depends_on.push_back(on);
  } else if (word == "restart") {
    it.restart.always = fields.number(0, 1) != 0;
    it.restart.limit = static_cast<std::uint32_t>(fields.number(0, 1000));
    it.restart.window = Duration(fields.number(0, kMaxTime));
    it.restart.delay = Duration(fields.number(0, kMaxTime));
    it.restart.delay_limit = Duration(fields.number(0, kMaxTime));
  } else if (word == "probe") {
    it.probe = read_probe(fields);
  } else if (word == "stop") {
    it.stop_signal = static_cast<int>(fields.number(1, kLastSignal));
    it.stop_deadline = Duration(fields.number(0, kMaxTime));
  } else {
    fields.spoil();
  }
  if (it.command.size() > kMaxItems || it.environment.size() > kMaxItems || it.depends_on.size() > kMaxComponents) {
    fields.spoil();
  }
}

// Whether every component can be reached by starting those first that depend on nothing more.
bool is_acyclic(const std::vector<Component>& components) {
  std::vector<bool> started(components.size(), false);
  for (std::size_t round = 0; round < components.size(); ++round) {
    for (std::size_t i = 0; i < components.size(); ++i) {
      bool ready = true;
      for (const Dependency& on : components[i].depends_on) ready = ready && started[on.component];
      if (ready) started[i] = true;
    }
  }
  for (const bool one : started) {
    if (!one) return false;
  }
  return true;
}

std::string what_is_wrong(const Configuration& configuration) {
  const auto& components = configuration.components;
  if (components.empty()) return "there are no components";
  for (std::size_t i = 0; i < components.size(); ++i) {
    const Component& it = components[i];
    const std::string who = "component '" + it.name + "'";
    if (it.name.empty()) return "a component has no name";
    if (it.command.empty() || it.command.front().empty()) return who + " has no command";
    if (!it.directory.starts_with('/')) return who + " has no directory";
    for (std::size_t j = 0; j < i; ++j) {
      if (components[j].name == it.name) return who + " is there twice";
    }
    for (const Dependency& on : it.depends_on) {
      if (on.component >= components.size() || on.component == i) return who + " depends on what is not there";
    }
  }
  if (!is_acyclic(components)) return "the dependencies are circular";
  return {};
}

}  // namespace

std::string to_text(const Configuration& configuration) {
  std::string text = Line(kHeader).add(kVersion).text();
  text += Line("report-to").add(configuration.report_to).text();
  text += Line("stop-signal").add(configuration.stop_signal).text();
  for (const Component& component : configuration.components) text += component_text(component);
  return text;
}

Parsed<Configuration> parse_configuration(std::string_view text) {
  if (text.size() > kMaxConfigurationBytes) return {{}, "the configuration is too long"};
  const auto lines = lines_of(text);
  if (!lines || lines->empty()) return {{}, "the configuration is incomplete"};
  Configuration configuration;
  for (std::size_t i = 0; i < lines->size(); ++i) {
    Fields fields((*lines)[i]);
    if (i == 0) {
      if (fields.word() != kHeader || fields.number(kVersion, kVersion) != kVersion) fields.spoil();
    } else if (fields.word() == "report-to") {
      configuration.report_to = fields.text(kMaxSocketPath);
    } else if (fields.word() == "stop-signal") {
      configuration.stop_signal = static_cast<int>(fields.number(1, kLastSignal));
    } else if (fields.word() == "component") {
      Component component;
      component.name = fields.text(63);
      component.stateful = fields.number(0, 1) != 0;
      configuration.components.push_back(std::move(component));
      if (configuration.components.size() > kMaxComponents) return {{}, "there are too many components"};
    } else if (!configuration.components.empty()) {
      read_component_line(fields, configuration.components.back());
    } else {
      fields.spoil();
    }
    if (fields.is_bad()) return {{}, "line " + to_text(static_cast<std::int64_t>(i) + 1) + " of the configuration is malformed"};
  }
  if (std::string wrong = what_is_wrong(configuration); !wrong.empty()) return {{}, std::move(wrong)};
  return {std::move(configuration), {}};
}

}  // namespace perdure::agent
