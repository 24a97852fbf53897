#include "node/doctor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>

#include "base/fd.h"
#include "base/units.h"
#include "capsule/criu/page_tracker.h"
#include "network/gate.h"
#include "runtime/preflight.h"

namespace perdure::node {
namespace {

namespace v1 = control::v1;

// Below, a container that changes much may find no room for its next generation.
constexpr Bytes kLittleSpace{std::uint64_t{2} << 30};
constexpr Bytes kNoSpaceLeft{std::uint64_t{64} << 20};

class Examination {
 public:
  Examination(const DoctorOptions& options, const std::function<void(std::string_view)>& progress)
      : options_(options), progress_(progress) {}

  v1::DoctorReport run() {
    progress_("host");
    auto facts = runtime::read_host_facts(options_.programs);
    if (!facts) {
      add("host", v1::CHECK_MISSING, facts.error().message());
      return std::move(report_);
    }
    facts_ = *std::move(facts);
    findings_ = runtime::check_host(facts_);
    using Check = void (Examination::*)();
    constexpr std::array<std::pair<std::string_view, Check>, 16> kChecks{{
        {"kernel", &Examination::kernel},
        {"criu", &Examination::criu},
        {"trial checkpoint", &Examination::trial},
        {"memory tracking", &Examination::memory_tracking},
        {"runc", &Examination::runc},
        {"helpers", &Examination::helpers},
        {"capabilities", &Examination::capabilities},
        {"cgroups", &Examination::cgroups},
        {"/run", &Examination::run_directory},
        {"gate", &Examination::gate},
        {"overlayfs", &Examination::overlay},
        {"reflinks", &Examination::reflinks},
        {"space", &Examination::space},
        {"bridge netfilter", &Examination::bridge_netfilter},
        {"layer 2", &Examination::layer2},
        {"metrics", &Examination::metrics},
    }};
    for (const auto& [name, check] : kChecks) {
      progress_(name);
      (this->*check)();
    }
    return std::move(report_);
  }

 private:
  v1::DoctorLine& add(std::string_view check, v1::CheckState state, std::string found) {
    v1::DoctorLine& line = *report_.add_lines();
    line.set_check(std::string(check));
    line.set_state(state);
    line.set_found(std::move(found));
    return line;
  }
  void add(std::string_view check, v1::CheckState state, std::string found, std::string follows, std::string remedy) {
    v1::DoctorLine& line = add(check, state, std::move(found));
    line.set_follows(std::move(follows));
    line.set_remedy(std::move(remedy));
  }
  const runtime::Finding* finding_about(std::string_view name) const {
    const auto found = std::ranges::find_if(
        findings_, [&](const runtime::Finding& finding) { return finding.what.starts_with(name); });
    return found == findings_.end() ? nullptr : &*found;
  }

  void kernel();
  void criu();
  void trial();
  void memory_tracking();
  void runc();
  void helpers();
  void capabilities();
  void cgroups();
  void run_directory();
  void gate();
  void overlay();
  void reflinks();
  void space();
  void bridge_netfilter();
  void layer2();
  void metrics();
  void program(std::string_view name, const runtime::Program& program, std::string_view package);
  void feature(std::string_view check, const network::Feature& feature, v1::CheckState without,
               std::string follows, std::string remedy);

  const DoctorOptions& options_;
  const std::function<void(std::string_view)>& progress_;
  runtime::HostFacts facts_;
  std::vector<runtime::Finding> findings_;
  v1::DoctorReport report_;
};

// ---- Kernel and programs ----

void Examination::kernel() {
  const std::string found = std::format("{} ({})", facts_.kernel_release, facts_.machine);
  if (const runtime::Finding* finding = finding_about("kernel")) {
    add("kernel", v1::CHECK_MISSING, found, finding->what, finding->remedy);
  } else {
    add("kernel", v1::CHECK_OK, found);
  }
}

void Examination::program(std::string_view name, const runtime::Program& program, std::string_view package) {
  if (program.path.empty()) {
    return add(name, v1::CHECK_MISSING, "not installed", "no container can be protected",
               std::format("install the package {}", package));
  }
  const std::string found =
      std::format("{} at {}", program.version ? runtime::to_string(*program.version) : "unknown version", program.path);
  const runtime::Finding* finding = finding_about(name);
  if (finding == nullptr) {
    add(name, v1::CHECK_OK, found);
  } else {
    const bool refusal = finding->severity == runtime::Finding::Severity::kRefusal;
    add(name, refusal ? v1::CHECK_MISSING : v1::CHECK_LIMITED, found, finding->what, finding->remedy);
  }
}

void Examination::criu() { program("criu", facts_.criu, "criu"); }
void Examination::runc() { program("runc", facts_.runc, "runc"); }

void Examination::trial() {
  constexpr std::string_view kName = "trial checkpoint";
  if (facts_.criu.path.empty()) return;  // said already
  TrialOptions trial;
  trial.criu = {facts_.criu.path, options_.paths.pagemap_filter(), ""};
  trial.scratch_dir = options_.paths.scratch();
  trial.program = options_.trial_program;
  const auto report = try_checkpoint(trial);
  if (!report) {
    return add(kName, v1::CHECK_MISSING, report.error().message(),
               "CRIU cannot take a checkpoint of a small process with a TCP connection, so it will not of a container",
               "compare the versions of CRIU and kernel: kernels from 6.16 on need CRIU 4.2, from 6.13 on 4.1");
  }
  add(kName, v1::CHECK_OK,
      std::format("a process with a TCP connection was dumped in {}", format_duration(report->took)));
}

void Examination::memory_tracking() {
  constexpr std::string_view kName = "memory tracking";
  const std::string follows = "each checkpoint reads the whole memory: a container is frozen for longer, the larger it "
                              "is (some 5 ms per 25 MB)";
  if (options_.tracking == capsule::MemoryTracking::kOff) {
    return add(kName, v1::CHECK_LIMITED, "switched off", follows, "start perdured without --no-memory-tracking");
  }
  if (const Status probed = capsule::PageTracker::probe(); !probed) {
    return add(kName, v1::CHECK_LIMITED, probed.error().message(), follows,
               "boot a kernel from 6.7 on with USERFAULTFD and PTE_MARKER_UFFD_WP");
  }
  add(kName, v1::CHECK_OK, "written pages are found without reading the others");
}

void Examination::helpers() {
  std::string missing;
  for (const std::string& path : {options_.paths.logger(), options_.paths.pagemap_filter(), options_.paths.standby()}) {
    if (::access(path.c_str(), R_OK) != 0) missing += (missing.empty() ? "" : ", ") + path;
  }
  if (missing.empty()) return add("helpers", v1::CHECK_OK, "in " + options_.paths.libexec_dir, "", "");
  add("helpers", v1::CHECK_MISSING, "not there: " + missing, "no container can be started or captured",
      "install perdure completely, or name the directory with --libexec-dir");
}

void Examination::capabilities() {
  struct Needed {
    int number;
    std::string_view name;
    v1::CheckState without;
    std::string_view follows;
  };
  constexpr std::array<Needed, 5> kNeeded{{
      {CAP_SYS_ADMIN, "CAP_SYS_ADMIN", v1::CHECK_MISSING, "no namespace and no mount can be made"},
      {CAP_SYS_PTRACE, "CAP_SYS_PTRACE", v1::CHECK_MISSING, "no process can be captured"},
      {CAP_NET_ADMIN, "CAP_NET_ADMIN", v1::CHECK_MISSING, "no container can have a network"},
      {CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE", v1::CHECK_LIMITED, "CAP_SYS_ADMIN stands in for it"},
      {CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", v1::CHECK_LIMITED,
       "processes of a container must run as user 0:0, or CRIU cannot read their limits"},
  }};
  std::string missing;
  std::string follows;
  v1::CheckState state = v1::CHECK_OK;
  for (const Needed& needed : kNeeded) {
    if (facts_.has_capability(needed.number)) continue;
    missing += std::format("{}{}", missing.empty() ? "without " : ", ", needed.name);
    follows += std::format("{}{}", follows.empty() ? "" : "; ", needed.follows);
    state = std::max(state, needed.without);
  }
  if (missing.empty()) return add("capabilities", v1::CHECK_OK, "all that are needed", "", "");
  add("capabilities", state, missing, follows,
      "give perdured its full bounding set: outside of a container, and without CapabilityBoundingSet= in its unit");
}

// ---- Control groups, /run ----

void Examination::cgroups() {
  if (!facts_.cgroups) {
    return add("cgroups", v1::CHECK_MISSING, "no cgroup2 file system is mounted",
               "no container can be frozen, counted or killed",
               "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified");
  }
  const runtime::CgroupLayout& layout = *facts_.cgroups;
  const bool hybrid = !layout.v1.empty();
  const std::string found = std::format("{} at {}", hybrid ? "versions 1 and 2" : "version 2 only", layout.v2_mount);
  std::string missing;
  for (const std::string_view controller : {"memory", "cpu", "pids"}) {
    if (!layout.has_controller(controller)) missing += std::format("{}{}", missing.empty() ? "" : ", ", controller);
  }
  if (missing.empty()) return add("cgroups", v1::CHECK_OK, found, "", "");
  add("cgroups", v1::CHECK_LIMITED, std::format("{}; no controller for {}", found, missing),
      std::format("a container that asks for a limit of {} is refused", missing),
      "enable the controller: at the kernel's command line (cgroup_enable=), or in cgroup.subtree_control");
}

void Examination::run_directory() {
  if (facts_.run_is_tmpfs()) return add("/run", v1::CHECK_OK, "tmpfs", "", "");
  add("/run", v1::CHECK_LIMITED, std::format("{}, no tmpfs", facts_.run_filesystem),
      "CRIU keeps no cache of what the kernel can do there: each checkpoint and each restore takes 60-100 ms longer",
      "mount a tmpfs at /run, at least in perdured's mount namespace");
}

// ---- Network ----

void Examination::feature(std::string_view check, const network::Feature& feature, v1::CheckState without,
                          std::string follows, std::string remedy) {
  if (feature.works) return add(check, v1::CHECK_OK, "works", "", "");
  add(check, without, feature.reason, std::move(follows), std::move(remedy));
}

void Examination::gate() {
  const auto support = network::probe_gate();
  if (!support) {
    return add("gate", v1::CHECK_MISSING, support.error().message(), "no container can have a network",
               "run perdured with CAP_SYS_ADMIN and CAP_NET_ADMIN");
  }
  feature("gate", support->gate, v1::CHECK_MISSING, "no container with a network can be protected",
          "boot a kernel with NET_CLS_BPF, NET_SCH_INGRESS and BPF_SYSCALL");
  feature("exit hook", support->exit_hook, v1::CHECK_LIMITED,
          "a dying process closes its connections before its recovery begins: clients see a reset",
          "boot a kernel with BPF_SYSCALL, BPF_EVENTS and DEBUG_INFO_BTF");
  feature("exit hook while perdured is away", support->pinning, v1::CHECK_LIMITED,
          "while perdured is restarted, a dying process closes its connections",
          "mount a bpffs (mount -t bpf bpf /sys/fs/bpf) where perdured may make files");
  feature("socket destroy", support->destroy, v1::CHECK_LIMITED,
          "a restored connection whose peer has moved on hangs instead of being reset",
          "boot a kernel with INET_DIAG_DESTROY");
  if (!options_.no_hook.empty() && support->exit_hook.works) {
    add("exit hook of this perdured", v1::CHECK_LIMITED, options_.no_hook,
        "it began without one: a dying process closes its connections before its recovery begins", "restart perdured");
  }
}

void Examination::bridge_netfilter() {
  std::string active;
  for (const std::string_view name : {"iptables", "ip6tables", "arptables"}) {
    const auto value = read_file(std::format("/proc/sys/net/bridge/bridge-nf-call-{}", name));
    if (value && value->starts_with('1')) active += std::format("{}{}", active.empty() ? "" : ", ", name);
  }
  if (active.empty()) return add("bridge netfilter", v1::CHECK_OK, "off", "", "");
  add("bridge netfilter", v1::CHECK_LIMITED, "on for " + active,
      "frames of containers pass the rules of this host's firewall, which may drop them (Docker sets FORWARD to DROP)",
      "sysctl -w net.bridge.bridge-nf-call-iptables=0 (also ip6tables, arptables), or allow the bridge in the rules");
}

void Examination::layer2() {
  const auto word = [](const char* file) {
    auto text = read_file(std::string("/sys/class/dmi/id/") + file).value_or("");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  };
  const std::string cpu = read_file("/proc/cpuinfo", std::size_t{16} << 20).value_or("");
  const bool is_virtual = cpu.find(" hypervisor") != std::string::npos;
  std::string machine = std::format("{} {}", word("sys_vendor"), word("product_name"));
  if (machine == " ") machine.clear();
  if (!is_virtual) {
    return add("layer 2", v1::CHECK_OK, machine.empty() ? "no virtual machine" : machine,
               "", "where a switch limits the MAC addresses of a port (port security), allow those of the containers");
  }
  add("layer 2", v1::CHECK_LIMITED, std::format("a virtual machine{}", machine.empty() ? "" : " (" + machine + ")"),
      "whether its network lets the MAC and IP addresses of containers through cannot be seen from inside; many clouds "
      "drop frames from any but the machine's own",
      "ask the provider: no pinned MAC or IP address, no port security or anti-spoofing at this port (VMware: allow "
      "forged transmits and promiscuous mode); or attach containers to an internal bridge");
}

void Examination::metrics() {
  if (options_.metrics_address.empty()) return add("metrics", v1::CHECK_OK, "switched off (--metrics off)", "", "");
  if (options_.metrics_trouble.empty()) {
    return add("metrics", v1::CHECK_OK, std::format("served at http://{}/metrics", options_.metrics_address), "", "");
  }
  add("metrics", v1::CHECK_LIMITED, "not served: " + options_.metrics_trouble,
      "nothing can watch this perdured; containers are looked after as ever",
      std::format("end what holds {}, or give perdured --metrics ADDRESS:PORT; it is tried again and again", options_.metrics_address));
}

// ---- Files ----

void Examination::overlay() {
  if (facts_.has_overlay) return add("overlayfs", v1::CHECK_OK, "known to the kernel", "", "");
  add("overlayfs", v1::CHECK_MISSING, "unknown to the kernel", "no container can be started", "modprobe overlay");
}

void Examination::reflinks() {
  const std::string& directory = options_.paths.state_dir;
  const auto scratch = [&]() -> Result<UniqueFd> {
    UniqueFd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(std::format("make a file in '{}'", directory));
    return fd;
  };
  const auto source = scratch();
  const auto target = scratch();
  if (!source || !target) {
    return add("reflinks", v1::CHECK_LIMITED, (source ? target : source).error().message(), "it was not tried", "");
  }
  constexpr std::size_t kBlock = 4096;
  const std::string block(kBlock, 'p');
  const Status written = write_all(source->get(), std::as_bytes(std::span(block)), directory);
  if (written && ::ioctl(target->get(), FICLONE, source->get()) == 0) {
    return add("reflinks", v1::CHECK_OK, "works in " + directory, "", "");
  }
  add("reflinks", v1::CHECK_LIMITED, std::format("not in {}: {}", directory, std::strerror(errno)),
      "files that changed since the last checkpoint are copied while the container is frozen",
      "keep the state directory on XFS or btrfs");
}

void Examination::space() {
  struct statvfs info{};
  const std::string& directory = options_.paths.state_dir;
  if (::statvfs(directory.c_str(), &info) != 0) {
    return add("space", v1::CHECK_LIMITED, std::format("'{}': {}", directory, std::strerror(errno)), "", "");
  }
  const Bytes free{std::uint64_t{info.f_bavail} * info.f_frsize};
  const std::string found = std::format("{} free in {}", format_bytes(free), directory);
  if (free >= kLittleSpace) return add("space", v1::CHECK_OK, found, "", "");
  add("space", free < kNoSpaceLeft ? v1::CHECK_MISSING : v1::CHECK_LIMITED, found,
      "when it is full, no new generation can be committed: containers become unprotected",
      "make room, or use another --state-dir");
}

}  // namespace

v1::DoctorReport examine_host(const DoctorOptions& options, const std::function<void(std::string_view)>& progress) {
  return Examination(options, progress).run();
}

}  // namespace perdure::node
