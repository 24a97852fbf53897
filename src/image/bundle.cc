#include "image/bundle.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <format>
#include <string_view>

#include "image/root_directory.h"
#include "io/atomic_file.h"

namespace perdure::image {
namespace {

constexpr std::size_t kMaxHostFileBytes = std::size_t{1} << 20;

struct PlainDirectory {
  std::string_view path;
  mode_t mode;
};
// What other engines mount and we do not.
constexpr PlainDirectory kDirectories[] = {{"/dev", 0755}, {"/dev/shm", 01777}, {"/tmp", 01777},
                                           {"/run", 0755}, {"/proc", 0755},     {"/sys", 0755},
                                           {"/etc", 0755}};

std::string hosts_text(const model::ContainerSpec& spec) {
  const std::string& name = spec.effective_hostname();
  std::string text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  if (spec.network.ipv4) {
    text += std::format("{} {}\n", model::to_string(spec.network.ipv4->address), name);
  }
  if (spec.network.ipv6) {
    text += std::format("{} {}\n", model::to_string(spec.network.ipv6->address), name);
  }
  if (!spec.network.ipv4 && !spec.network.ipv6) text += std::format("127.0.0.1 {}\n", name);
  for (const model::HostEntry& host : spec.network.hosts) {
    text += model::to_string(host.address);
    for (const std::string& other : host.names) text += ' ' + other;
    text += '\n';
  }
  return text;
}

std::string resolver_text(const model::ContainerSpec& spec) {
  std::string text;
  for (const model::IpAddress& server : spec.network.dns) {
    text += std::format("nameserver {}\n", model::to_string(server));
  }
  return text;
}

Status write_etc(const RootDirectory& root, const model::ContainerSpec& spec) {
  PERDURE_TRY(root.write_file("/etc/hostname", spec.effective_hostname() + "\n"));
  PERDURE_TRY(root.write_file("/etc/hosts", hosts_text(spec)));
  PERDURE_ASSIGN(const auto resolver, root.read_file("/etc/resolv.conf", kMaxHostFileBytes));
  if (spec.network.dns.empty() && resolver) return {};
  return root.write_file("/etc/resolv.conf", resolver_text(spec));
}

Status prepare_mount_points(const model::ContainerSpec& spec, const PreparedImage& image,
                            const BundleOptions& options) {
  PERDURE_ASSIGN(const RootDirectory root, RootDirectory::open(options.root_dir));
  for (const PlainDirectory& directory : kDirectories) {
    PERDURE_TRY(root.make_directory(std::string(directory.path), directory.mode));
  }
  for (const BindMount& volume : options.volumes) {
    struct stat info{};
    if (::stat(volume.source.c_str(), &info) != 0) {
      return fail_errno(std::format("volume '{}': source '{}'", volume.destination, volume.source));
    }
    // runc makes the mount point of a file itself.
    if (S_ISDIR(info.st_mode)) PERDURE_TRY(root.make_directory(volume.destination, 0755));
  }
  std::vector<std::string> working_directories{effective_working_directory(spec, image.defaults)};
  for (const model::ComponentSpec& it : spec.components) {
    if (it.working_directory) working_directories.push_back(*it.working_directory);
  }
  for (const std::string& directory : working_directories) {
    const bool in_volume = std::ranges::any_of(options.volumes, [&](const BindMount& volume) {
      return directory.starts_with(volume.destination + "/");
    });
    // Below a volume it is the volume's own business; runc, or the agent, says when it is missing.
    if (!in_volume) PERDURE_TRY(root.make_directory(directory, 0755));
  }
  return write_etc(root, spec);
}

// Only root may read it: environments hold secrets.
Status write_agent(const AgentFiles& agent, const BundleOptions& options) {
  PERDURE_ASSIGN(const std::string program, read_file(agent.program, kMaxAgentBytes));
  PERDURE_ASSIGN(const RootDirectory root, RootDirectory::open(options.root_dir));
  PERDURE_TRY(root.make_directory(std::string(kAgentDirectory), 0700));
  PERDURE_TRY(root.write_file(std::string(kAgentProgram), program, 0700));
  return root.write_file(std::string(kAgentConfiguration), agent.configuration, 0600);
}

std::uint64_t own_open_files_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : RLIM_INFINITY;
}

}  // namespace

Status write_bundle(const model::ContainerSpec& spec, const PreparedImage& image,
                    const BundleOptions& options) {
  const std::string what = std::format("bundle of container '{}'", spec.name.str());
  if (auto prepared = prepare_mount_points(spec, image, options); !prepared) {
    return fail(std::move(prepared).error().context(what));
  }
  if (options.agent) {
    if (auto written = write_agent(*options.agent, options); !written) {
      return fail(std::move(written).error().context(what));
    }
  }
  BundleOptions effective = options;
  effective.open_files = std::min(options.open_files, own_open_files_limit());
  auto config = make_config(spec, image, effective);
  if (!config) return fail(std::move(config).error().context(what));
  PERDURE_TRY(io::make_directories(options.bundle_dir, 0700));
  return io::write_file_atomically(options.bundle_dir + "/config.json", *config, 0600);
}

}  // namespace perdure::image
