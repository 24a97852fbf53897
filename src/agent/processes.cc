#include "agent/processes.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "agent/text.h"

namespace perdure::agent {
namespace {

// A child that cannot begin says so in one write, which a pipe keeps together (PIPE_BUF).
constexpr std::size_t kMaxComplaint = 512;

std::string because(std::string what) {
  const char* text = ::strerrordesc_np(errno);
  return std::move(what) + ": " + (text != nullptr ? text : "error " + to_text(errno));
}

bool make_pipe(Descriptor& read_end, Descriptor& write_end, int read_flags) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end = Descriptor(ends[0]);
  write_end = Descriptor(ends[1]);
  return read_flags == 0 || ::fcntl(ends[0], F_SETFL, read_flags) == 0;
}

[[noreturn]] void complain(int fd, std::string text) {
  text.resize(std::min(text.size(), kMaxComplaint));
  (void)!::write(fd, text.data(), text.size());
  ::_exit(127);
}

void apply_limit(int complaints, int resource, const char* name, const std::optional<std::uint64_t>& value) {
  if (!value) return;
  const rlimit limit{*value, *value};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) {
    complain(complaints, because("limit " + std::string(name) + " of " + to_text(static_cast<std::int64_t>(*value))));
  }
}

void become(const Component& component, int complaints) {
  apply_limit(complaints, RLIMIT_NOFILE, "open-files", component.limits.open_files);
  apply_limit(complaints, RLIMIT_CORE, "core-size", component.limits.core_size);
  apply_limit(complaints, RLIMIT_FSIZE, "file-size", component.limits.file_size);
  apply_limit(complaints, RLIMIT_AS, "address-space", component.limits.address_space);
  if (::getuid() == 0) {
    const auto* groups = reinterpret_cast<const gid_t*>(component.groups.data());
    if (::setgroups(component.groups.size(), groups) != 0) complain(complaints, because("set its groups"));
  }
  if (::setgid(component.gid) != 0) complain(complaints, because("become group " + to_text(component.gid)));
  if (::setuid(component.uid) != 0) complain(complaints, because("become user " + to_text(component.uid)));
  if (::chdir(component.directory.c_str()) != 0) complain(complaints, because("directory '" + component.directory + "'"));
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
  list.push_back(nullptr);
  return list;
}

[[noreturn]] void execute(const Component& component, const std::vector<std::string>& command, int complaints) {
  std::vector<char*> arguments = pointers(command);
  std::vector<char*> variables = pointers(component.environment);
  ::environ = variables.data();  // whose PATH execvp searches
  ::execvp(arguments[0], arguments.data());
  complain(complaints, because("execute '" + command.front() + "'"));
}

// What perdured gave the agent, and what it has changed for itself.
void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

std::string complaint_in(const Descriptor& fd) {
  char text[kMaxComplaint];
  const ssize_t got = ::read(fd.get(), text, sizeof text);
  return got > 0 ? std::string(text, static_cast<std::size_t>(got)) : std::string();
}

}  // namespace

pid_t Processes::fork_child(const Component& component, Output* output, const std::function<void()>& body, std::string& error) {
  Descriptor complaints;
  Descriptor complain_to;
  Descriptor standard;
  Descriptor standard_error;
  if (!make_pipe(complaints, complain_to, O_NONBLOCK) ||
      (output != nullptr &&
       (!make_pipe(output->standard, standard, O_NONBLOCK) || !make_pipe(output->error, standard_error, O_NONBLOCK)))) {
    error = because("make a pipe");
    return -1;
  }
  Descriptor nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) {
    error = because("open '/dev/null'");
    return -1;
  }
  const pid_t pid = ::fork();
  if (pid < 0) error = because("make a process");
  if (pid != 0) {
    if (pid > 0) children_.emplace(pid, std::move(complaints));
    return pid;
  }
  ::setsid();
  reset_signals();
  ::dup2(nothing.get(), 0);
  ::dup2(output != nullptr ? standard.get() : nothing.get(), 1);
  ::dup2(output != nullptr ? standard_error.get() : nothing.get(), 2);
  become(component, complain_to.get());
  complain_to_ = complain_to.get();
  body();
  ::_exit(127);
}

pid_t Processes::start(const Component& component, Output& output, std::string& error) {
  return fork_child(component, &output, [&] { execute(component, component.command, complain_to_); }, error);
}

pid_t Processes::start_quietly(const Component& component, const std::vector<std::string>& command, std::string& error) {
  return fork_child(component, nullptr, [&] { execute(component, command, complain_to_); }, error);
}

pid_t Processes::start_inside(const Component& component, const std::function<int()>& body, std::string& error) {
  return fork_child(component, nullptr, [&] { ::_exit(body()); }, error);
}

std::vector<ChildEnd> Processes::reap() {
  std::vector<ChildEnd> ends;
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return ends;
    const auto child = children_.find(info.si_pid);
    // Before its number is free for somebody else.
    if (child != children_.end()) signal_group(info.si_pid, SIGKILL);
    ::waitpid(info.si_pid, nullptr, 0);
    if (child == children_.end()) continue;
    ChildEnd end{.pid = info.si_pid, .how = Exited::How::kExited, .value = info.si_status, .core = false, .reason = complaint_in(child->second)};
    if (!end.reason.empty()) {
      end.how = Exited::How::kNotStarted;
    } else if (info.si_code != CLD_EXITED) {
      end.how = Exited::How::kSignalled;
      end.core = info.si_code == CLD_DUMPED;
    }
    children_.erase(child);
    ends.push_back(std::move(end));
  }
}

void Processes::signal_group(pid_t pid, int signal) {
  // It may not have made its group yet.
  if (::kill(-pid, signal) != 0) ::kill(pid, signal);
}

}  // namespace perdure::agent
