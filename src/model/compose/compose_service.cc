#include "model/compose/compose_service.h"

#include <algorithm>
#include <format>
#include <utility>

#include "model/compose/compose_tree.h"
#include "model/compose/compose_values.h"
#include "model/text.h"
#include "model/value_codec.h"

namespace perdure::model::compose {
namespace {

using Kind = YamlNode::Kind;
using enum Treatment;

// Read together with another key, or elsewhere.
void lower_nothing(Lowering&, const YamlNode&) {}
void lower_profiles(Lowering& service, const YamlNode& node) { expect_form(service, "profiles", node, Kind::kSequence); }

std::vector<ServiceKey> make_keys() {
  return {
      {"image", kUsed, "`artefact.oci` and `artefact.tag`: nothing is pulled, the image is looked for in the directory that `x-ha.images` names at the top, "
       "where `skopeo copy docker://NAME:TAG oci:images/NAME:TAG` puts it. Not read where `x-ha.artefact` says what the service is made of.", lower_nothing},
      {"build", kUsed, "Nothing is built: `x-ha.artefact` or `image` says what the service is made of.", lower_nothing},
      {"entrypoint", kUsed, "`command`, its beginning. Text is split into words as by a shell.", lower_nothing},
      {"command", kUsed, "`command`, behind `entrypoint`. Where one is missing that of the image holds, as in Compose; without an image nothing does.", lower_nothing},
      {"environment", kUsed, "`environment`; a name without a value has that of the environment of `perdure`.", lower_nothing},
      {"env_file", kUsed, "`environment`, below what `environment` says.", lower_nothing},
      {"working_dir", kUsed, "`working-directory`; else that of the image.", lower_nothing},
      {"user", kUsed, "`user`; else that of the image.", lower_nothing},
      {"healthcheck", kUsed,
       "`probe.exec`, with `interval`, `timeout`, `retries` (`failures`) and `start_period` (`grace`), by default 30s, 30s, 3 and 0s as "
       "in Compose. None with `disable`, `NONE`, or if `x-ha.probe` stands there.",
       lower_healthcheck},
      {"depends_on", kUsed,
       "`requires` of the first interface of the other service; `service_started` is `until: started`, `service_healthy` `ready`, "
       "`service_completed_successfully` `finished`; `restart: true` is `on-restart: restart`. Below it `x-ha` has the keys of a `requires`.",
       lower_depends_on},
      {"links", kUsed, "As `depends_on`; without aliases.", lower_links},
      {"expose", kUsed, "`provides`, an interface for each port.", lower_expose},
      {"ports", kUsed, "`provides`, as `expose`; in the long form `name` is its name, and `x-ha` below it has the keys of a `provides`. Nothing is "
       "published: a container has an address of its own, and listens there at its own port.", lower_ports},
      {"restart", kUsed,
       "`restart.when`: `always` and `unless-stopped` are `always`, `on-failure:N` is `failure` with `restart.limit: N`. With `no`, what "
       "fails is started again too; the reader says so. Not read beside `deploy.restart_policy`.",
       lower_restart},
      {"stop_signal", kUsed, "`stop.signal`", lower_stop_signal},
      {"stop_grace_period", kUsed, "`stop.deadline`", lower_stop_grace_period},
      {"ulimits", kUsed, "`limits`: `nofile`, `core`, `fsize` and `as`; soft and hard are the same. Others have no effect.", lower_ulimits},
      {"deploy", kUsed,
       "`replicas`; `resources.limits` become `resources` of its container, `resources.reservations` those of the component, which nodes are "
       "chosen by; without a reservation the limit is one. `restart_policy` becomes `restart`.",
       lower_deploy},
      {"scale", kUsed, "`replicas`", lower_scale},
      {"mem_limit", kUsed, "`resources.memory` of its container", lower_mem_limit},
      {"mem_reservation", kUsed, "`resources.memory`", lower_mem_reservation},
      {"cpus", kUsed, "`resources.cpu` of its container", lower_cpus},
      {"pids_limit", kUsed, "`resources.pids` of its container", lower_pids_limit},
      {"volumes", kUsed,
       "`volumes` of its container: a named one is captured, with `-` for `_` in its name, and goes where the container goes; two services "
       "of different containers cannot share one. A file or directory of the host that is mounted read-only becomes `artefact.files`, a "
       "copy; one that is written is refused, as what stays on one host: `x-ha.container.volumes` says instead that it is shared. What has no "
       "name lies in the writable layer.",
       lower_volumes},
      {"configs", kUsed, "`artefact.files`, of configs with `file`", lower_configs},
      {"networks", kUsed,
       "`ipv4_address` and `ipv6_address` become `network.ipv4` and `ipv6` of its container, with the length of the network's `subnet`. "
       "All containers of an application are in one network, `x-ha.network`.",
       lower_networks},
      {"hostname", kUsed, "`hostname` of its container", lower_hostname},
      {"dns", kUsed, "`network.dns` of its container", lower_dns},
      {"extra_hosts", kUsed, "`network.hosts` of its container", lower_extra_hosts},
      {"mac_address", kUsed, "`network.mac` of its container", lower_mac_address},
      {"sysctls", kUsed, "`security.sysctls` of its container", lower_sysctls},
      {"cap_add", kUsed, "`security.capabilities` of its container, over the default ones", lower_nothing},
      {"cap_drop", kUsed, "the same without these", lower_nothing},
      {"init", kUsed, "The agent is every container's first process and does what Compose's init does.", lower_nothing},
      {"profiles", kUsed, "A service of none of the profiles that are chosen is left out (`--profile`, COMPOSE_PROFILES).", lower_profiles},
      {"extends", kUsed, "The other service, and this one over it.", lower_nothing},

      {"annotations", kNoted, "nothing reads it", nullptr},
      {"attach", kNoted, "there is no terminal to be attached to", nullptr},
      {"blkio_config", kNoted, "input and output are not limited", nullptr},
      {"cgroup", kNoted, "the container has a cgroup of its own", nullptr},
      {"cgroup_parent", kNoted, "the container has a cgroup of its own", nullptr},
      {"container_name", kNoted, "containers are called APPLICATION-SERVICE; x-ha.containers at the top names them otherwise", nullptr},
      {"cpu_count", kNoted, "write cpus", nullptr},
      {"cpu_percent", kNoted, "write cpus", nullptr},
      {"cpu_period", kNoted, "write cpus", nullptr},
      {"cpu_quota", kNoted, "write cpus", nullptr},
      {"cpu_rt_period", kNoted, "write cpus", nullptr},
      {"cpu_rt_runtime", kNoted, "write cpus", nullptr},
      {"cpu_shares", kNoted, "write cpus", nullptr},
      {"cpuset", kNoted, "the container may run at another node, with other processors", nullptr},
      {"develop", kNoted, "files are not watched", nullptr},
      {"dns_opt", kNoted, "the C library's defaults hold", nullptr},
      {"dns_search", kNoted, "names are written in full", nullptr},
      {"domainname", kNoted, "write it into hostname", nullptr},
      {"label_file", kNoted, "nothing reads labels", nullptr},
      {"labels", kNoted, "nothing reads labels; what finds its services by them (a reverse proxy) has to be configured", nullptr},
      {"logging", kNoted, "logs are read by 'perdure logs'; log of a container in x-ha.containers limits them", nullptr},
      {"mem_swappiness", kNoted, "the host's holds", nullptr},
      {"memswap_limit", kNoted, "write mem_limit", nullptr},
      {"oom_kill_disable", kNoted, "the kernel's rules hold", nullptr},
      {"oom_score_adj", kNoted, "the kernel's rules hold", nullptr},
      {"platform", kNoted, "the artefact says for what it was built", nullptr},
      {"pull_policy", kNoted, "nothing is pulled", nullptr},
      {"pull_refresh_after", kNoted, "nothing is pulled", nullptr},
      {"read_only", kNoted, "the root file system stays writable; what is written there is captured", nullptr},
      {"shm_size", kNoted, "/dev/shm has its default size", nullptr},
      {"stdin_open", kNoted, "there is no standard input", nullptr},
      {"storage_opt", kNoted, "the writable layer is not limited", nullptr},
      {"tmpfs", kNoted, "lies in the container's writable layer, which is captured", nullptr},
      {"tty", kNoted, "there is no terminal", nullptr},

      {"credential_spec", kRefused, "there are no such credentials; remove it", nullptr},
      {"device_cgroup_rules", kRefused, "devices cannot be checkpointed; remove it", nullptr},
      {"devices", kRefused, "devices cannot be checkpointed; remove it", nullptr},
      {"external_links", kRefused, "only services of this file are known; give the address by extra_hosts", nullptr},
      {"gpus", kRefused, "devices cannot be checkpointed; remove it", nullptr},
      {"group_add", kRefused, "further groups are not supported; write user: 'USER:GROUP'", nullptr},
      {"ipc", kRefused, "a container has an IPC namespace of its own; remove it, or put both into one container by x-ha.containers at the top", nullptr},
      {"isolation", kRefused, "only Linux containers are run; remove it", nullptr},
      {"models", kRefused, "no models are provided; remove it", nullptr},
      {"network_mode", kRefused, "a container has a network of its own, whose output is held back when it is fenced; remove it, or put both services into one container by x-ha.containers at the top", nullptr},
      {"pid", kRefused, "a container has processes of its own, or they could not be restored elsewhere; remove it", nullptr},
      {"post_start", kRefused, "nothing is run behind the start; make it a service of its own that others depend on with service_completed_successfully", nullptr},
      {"pre_stop", kRefused, "nothing is run before the stop; let the program do it when stop_signal comes", nullptr},
      {"privileged", kRefused, "the container could harm its host, and could not be restored elsewhere; remove it, and name what it needs by cap_add", nullptr},
      {"provider", kRefused, "nothing else provides services; remove it", nullptr},
      {"runtime", kRefused, "the node's own runtime is used; remove it", nullptr},
      {"secrets", kRefused, "there are no secrets, and an image holds none; mount a directory that is on all nodes, or have the program fetch it", nullptr},
      {"security_opt", kRefused, "the profile that perdure has for all containers holds; remove it", nullptr},
      {"use_api_socket", kRefused, "there is no container engine to talk to, and who may talk to one owns the host; remove it", nullptr},
      {"userns_mode", kRefused, "user namespaces are not chosen by container; remove it", nullptr},
      {"uts", kRefused, "a container has a host name of its own; remove it", nullptr},
      {"volumes_from", kRefused, "two containers cannot share a captured volume; put both services into one container by x-ha.containers at the top", nullptr},
  };
}

bool is_default(std::string_view key, const YamlNode& node) {
  if (is_nothing(node)) return true;
  if (node.kind != Kind::kScalar) return false;
  return (key == "ipc" && (node.text == "private" || node.text == "shareable")) || (key == "network_mode" && node.text == "bridge") ||
         (key == "isolation" && node.text == "default") || (key == "attach" && node.text == "true");
}

void lower_key(Lowering& service, const YamlKey& key, const YamlNode& value) {
  if (key.text.starts_with("x-")) return;
  const auto& keys = service_keys();
  const auto found = std::ranges::find(keys, key.text, &ServiceKey::key);
  if (found == keys.end()) {
    std::vector<std::string> known;
    for (const ServiceKey& it : keys) known.emplace_back(it.key);
    service.reading.complain(key.position, std::format("unknown key {} in 'services.{}'; {}", quote(key.text), service.name,
                                                       did_you_mean(key.text, known, "Compose has no such key, remove it or call it x-...")));
  } else if (found->treatment == kUsed) {
    if (value.kind != Kind::kNull) found->lower(service, value);
  } else if (!is_default(key.text, value)) {
    if (found->treatment == kRefused) service.refuse(key.position, key.text, found->text);
    if (found->treatment == kNoted) service.note(key.position, key.text, found->text);
  }
}

}  // namespace

bool is_nothing(const YamlNode& node) {
  if (node.kind == Kind::kNull) return true;
  if (node.kind == Kind::kScalar) return node.text.empty() || node.text == "false";
  return node.items.empty();
}

void Lowering::refuse(Position position, std::string_view key, std::string_view why) {
  reading.complain(position, std::format("services.{}.{}: {}", name, key, why));
}

void Lowering::note(Position position, std::string_view key, std::string_view why) {
  notes.push_back({position, std::format("services.{}.{}: {}", name, key, why)});
}

const std::vector<ServiceKey>& service_keys() {
  static const std::vector<ServiceKey> kKeys = make_keys();
  return kKeys;
}

void lower_service(Lowering& service) {
  for (std::size_t i = 0; i < service.service.items.size(); ++i) lower_key(service, service.service.keys[i], service.service.items[i]);
  lower_command(service);
  lower_environment(service);
  lower_user(service);
  lower_working_dir(service);
  lower_capabilities(service);
}

const YamlNode* expect_text(Lowering& service, std::string_view key, const YamlNode& node) {
  if (node.kind == Kind::kScalar) return &node;
  service.refuse(node.position, key, "must be a single value");
  return nullptr;
}

bool expect_form(Lowering& service, std::string_view key, const YamlNode& node, Kind kind) {
  if (node.kind == kind) return true;
  service.refuse(node.position, key, kind == Kind::kMap ? "must be a map of keys and values" : "must be a list; write '- ITEM' lines or [ITEM, ITEM]");
  return false;
}

void expect_keys(Lowering& service, std::string_view at, const YamlNode& map, const std::vector<std::string>& known) {
  for (const YamlKey& key : map.keys) {
    if (key.text.starts_with("x-") || std::ranges::contains(known, key.text)) continue;
    service.reading.complain(key.position, std::format("unknown key {} in 'services.{}.{}'; {}", quote(key.text), service.name, at,
                                                       did_you_mean(key.text, known, "known here: " + join(known))));
  }
}

void put_text(Lowering& service, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node) {
  if (const YamlNode* text = expect_text(service, key, node)) set_path(root, path, *text);
}

void put_duration(Lowering& service, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node) {
  const YamlNode* text = expect_text(service, key, node);
  if (text == nullptr) return;
  const auto duration = parse_duration(text->text);
  if (!duration) return service.refuse(node.position, key, duration.error().message());
  set_path(root, path, scalar(spell(*duration), node.position));
}

void put_bytes(Lowering& service, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node) {
  const YamlNode* text = expect_text(service, key, node);
  if (text == nullptr) return;
  const auto bytes = parse_bytes(text->text);
  if (!bytes) return service.refuse(node.position, key, bytes.error().message());
  set_path(root, path, scalar(spell(*bytes), node.position));
}

}  // namespace perdure::model::compose
