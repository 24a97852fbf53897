#include "node/testing/fake_backend.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <format>
#include <utility>

#include "base/assert.h"
#include "base/fd.h"
#include "capsule/format/test_capsules.h"
#include "io/process.h"
#include "model/spec_yaml.h"

namespace perdure::node::testing {
namespace {

constexpr Duration kEndTime = std::chrono::seconds(20);

void kill_and_wait(pid_t pid) {
  if (pid <= 0) return;
  const auto pidfd = open_pidfd(pid);
  if (!pidfd) return;  // reaped already
  ::kill(pid, SIGKILL);
  pollfd entry{.fd = pidfd->get(), .events = POLLIN, .revents = 0};
  ::poll(&entry, 1, static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(kEndTime).count()));
}

}  // namespace

FakeBackend::~FakeBackend() { kill_and_wait(pid_); }

void FakeBackend::set(Step& target, Step step) {
  const std::scoped_lock lock(mutex_);
  target = std::move(step);
}

Status FakeBackend::ask(const Step& step, std::string call) {
  Step copy;
  {
    const std::scoped_lock lock(mutex_);
    calls_.push_back(std::move(call));
    copy = step;
  }
  return copy ? copy() : Status();
}

std::vector<std::string> FakeBackend::calls() const {
  const std::scoped_lock lock(mutex_);
  return calls_;
}

std::size_t FakeBackend::count(const std::string& call) const {
  const std::scoped_lock lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(calls_, [&](const std::string& made) { return made.starts_with(call); }));
}

void FakeBackend::hold_for(const std::optional<StatefulProcesses>& processes) {
  const std::scoped_lock lock(mutex_);
  std::string text = processes ? "" : "all";
  if (processes) {
    for (const pid_t pid : processes->pids) text += (text.empty() ? "" : " ") + std::to_string(pid);
  }
  holds_.push_back(std::move(text));
}

std::vector<std::string> FakeBackend::holds() const {
  const std::scoped_lock lock(mutex_);
  return holds_;
}

void FakeBackend::die() { ::kill(pid_, SIGKILL); }

Result<Life> FakeBackend::spawn() {
  // A command takes no signal that an agent does.
  std::string script = spec_.components.empty() ? "exec sleep 1000" : std::format("trap '' {}; exec sleep 1000", agent::probe_now_signal());
  if (deaf_) script = "trap '' TERM; while :; do sleep 1000; done";
  if (exit_code_ >= 0) script = std::format("trap 'exit {}' TERM; while :; do sleep 0.01; done", exit_code_.load());
  PERDURE_ASSIGN(auto process, io::ChildProcess::spawn({"/bin/sh", "-c", script}, {}));
  pid_ = process.release();
  PERDURE_ASSIGN(const auto id, runtime::ProcessId::of(pid_));
  return watched({id, "pipe:[1]", "pipe:[2]"});
}

Result<Preparation> FakeBackend::prepare(AddressProbe, const ProgressFunction& progress) {
  progress("unpack", "unpacking the image");
  PERDURE_TRY(ask(prepare_, "prepare"));
  return Preparation{"sha256:fake", {}};
}

Result<Life> FakeBackend::start() {
  PERDURE_TRY(ask(start_, "start"));
  return spawn();
}

Result<Captured> FakeBackend::capture(const Generation& generation, const RuntimeFacts&, const CancelFlag& cancel,
                                      AfterCapture after) {
  const bool stays_frozen = after == AfterCapture::kStayFrozen;
  PERDURE_TRY(ask(capture_, (stays_frozen ? "freeze " : "capture ") + to_string(generation)));
  if (cancel) return fail(ErrorCode::kCancelled, "cancelled");
  capsule::Capsule capsule = capsule::testing::small_capsule(generation.number);
  capsule.manifest.container = spec_.name.str();
  capsule.manifest.generation = generation;
  capsule.manifest.spec_yaml = model::to_yaml(spec_);
  capsule.manifest.created = std::chrono::system_clock::now();
  return Captured{std::move(capsule), BootClock::now()};
}

Status FakeBackend::resume() { return ask({}, "resume"); }

Result<Preparation> FakeBackend::prepare_standby(const std::string& image_digest) {
  deadline_->set(Instant::min());
  PERDURE_TRY(ask(prepare_, "prepare_standby"));
  return Preparation{image_digest, {}};
}

Status FakeBackend::stage(const capsule::Capsule& capsule) {
  return ask({}, "stage " + to_string(capsule.manifest.generation));
}

Status FakeBackend::announce() { return ask({}, "announce"); }

Result<RestoreResult> FakeBackend::restore(const capsule::Capsule& capsule, RestoreKind kind,
                                           const std::vector<network::TcpTuple>& begun) {
  {
    const std::scoped_lock lock(mutex_);
    begun_elsewhere_ = begun;
  }
  const bool moved = kind == RestoreKind::kMovedHere;
  PERDURE_TRY(ask(restore_, (moved ? "take " : "restore ") + to_string(capsule.manifest.generation)));
  RestoreResult result;
  PERDURE_ASSIGN(result.life, spawn());
  result.frames_before = frames_;
  return result;
}

Status FakeBackend::terminate(int signal) {
  PERDURE_TRY(ask({}, std::format("terminate {}", signal)));
  ::kill(pid_, signal);
  return {};
}

Status FakeBackend::kill_all() {
  PERDURE_TRY(ask({}, "kill"));
  kill_and_wait(pid_);
  return {};
}

Status FakeBackend::release(Capsules capsules) {
  return ask(release_, capsules == Capsules::kKeep ? "release keep" : "release delete");
}

Result<Found> FakeBackend::recover(const std::optional<RuntimeFacts>&, Frozen) {
  PERDURE_TRY(ask(recover_, "recover"));
  return Found{found_};
}

std::vector<pid_t> FakeBackend::processes() const { return {pid_}; }

void FakeBackend::begin_connection(const network::TcpTuple& connection) {
  const std::scoped_lock lock(mutex_);
  begun_.push_back(connection);
}

std::vector<network::TcpTuple> FakeBackend::take_begun() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(begun_, {});
}

bool FakeBackend::begun_taken() const {
  const std::scoped_lock lock(mutex_);
  return begun_.empty();
}

std::vector<network::TcpTuple> FakeBackend::begun_elsewhere() const {
  const std::scoped_lock lock(mutex_);
  return begun_elsewhere_;
}

Result<UniqueFd> FakeBackend::open_agent_socket() {
  if (spec_.components.empty()) return UniqueFd{};
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("make a pair of sockets");
  agent_socket_.reset(ends[0]);
  UniqueFd other(ends[1]);
  const int on = 1;
  if (::setsockopt(other.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0) return fail_errno("socket for the agent's reports");
  return other;
}

Status FakeBackend::report(const agent::Report& report) {
  std::string text = agent::to_text(report);
  iovec part{text.data(), text.size()};
  const ucred sender{pid_, ::getuid(), ::getgid()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))]{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_CREDENTIALS;
  header->cmsg_len = CMSG_LEN(sizeof sender);
  std::memcpy(CMSG_DATA(header), &sender, sizeof sender);
  if (::sendmsg(agent_socket_.get(), &message, 0) < 0) return fail_errno("report as the agent");
  return {};
}

BackendFactory FakeBackends::factory() {
  return [this](const HostServices&, const model::ContainerSpec& spec, const std::string&) {
    auto backend = std::make_shared<FakeBackend>(spec);
    if (on_new) on_new(*backend);
    backends_[spec.name.str()] = backend;
    return backend;
  };
}

FakeBackend& FakeBackends::at(const std::string& name) {
  PERDURE_ASSERT(backends_.contains(name));
  return *backends_.at(name);
}

}  // namespace perdure::node::testing
