// One service of a Compose file on its way to a component and the settings of its container. Private to this room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/compose/compose_files.h"
#include "model/reading.h"

namespace perdure::model::compose {

// A port that is exposed or published.
struct Offer {
  std::uint16_t port = 0;
  bool udp = false;
  Position position{};
  YamlNode said{};  // a map, in the keys of `provides`
};

// Another service that has to be there.
struct Need {
  std::string service{};
  std::string until = "started";
  bool restart = false;
  bool required = true;
  Position position{};
  YamlNode said{};  // a map, in the keys of `requires`
};

// A volume of the file that is mounted.
struct NamedVolume {
  std::string name{};
  Position position{};
};

struct Lowering {
  Reading& reading;
  std::vector<Note>& notes;
  Files& files;
  const Project& project;
  std::string name{};
  const YamlNode& service;
  YamlNode component{.kind = YamlNode::Kind::kMap};  // in the keys of docs/application.md
  YamlNode settings{.kind = YamlNode::Kind::kMap};   // of its container, if there are any
  std::vector<YamlNode> files_copied{};              // of the artefact
  std::vector<Offer> offers{};
  std::vector<Need> needs{};
  std::vector<NamedVolume> named_volumes{};
  bool has_artefact = false;  // else it has been complained about
  std::optional<OciRoot> image_root{};
  std::optional<ComposeImage> image{};  // what it runs where the service does not say it
  std::string image_trouble{};          // why that is not known; empty: nobody was asked

  // "services.NAME.KEY: why".
  void refuse(Position position, std::string_view key, std::string_view why);
  void note(Position position, std::string_view key, std::string_view why);
};

enum class Treatment {
  kUsed,     // becomes what the manual says
  kNoted,    // has no effect; the reader says so
  kRefused,  // would mean something else without it
};

struct ServiceKey {
  std::string_view key;
  Treatment treatment = Treatment::kUsed;
  std::string_view text;  // for the manual, and behind the key in notes and refusals
  void (*lower)(Lowering&, const YamlNode&) = nullptr;
};

// Every key of a service in the Compose specification, in the order of the manual.
const std::vector<ServiceKey>& service_keys();

// Reads all keys of the service but x-ha and profiles; its image is known.
void lower_service(Lowering& service);

// Gives each of the services, which have been read, what it provides and requires.
void wire_services(std::vector<Lowering>& services, const Project& project);

// A key that Compose has and that says nothing here: null, false, an empty list.
bool is_nothing(const YamlNode& node);

// --- What the keys of several kinds become, for the table ---

// compose_program.cc
void lower_environment(Lowering&);  // of `environment` and `env_file` together
void lower_user(Lowering&);
void lower_working_dir(Lowering&);
void lower_command(Lowering&);      // of `entrypoint` and `command` together
void lower_healthcheck(Lowering&, const YamlNode&);
void lower_restart(Lowering&, const YamlNode&);
void lower_stop_signal(Lowering&, const YamlNode&);
void lower_stop_grace_period(Lowering&, const YamlNode&);
void lower_ulimits(Lowering&, const YamlNode&);
void lower_deploy(Lowering&, const YamlNode&);
void lower_scale(Lowering&, const YamlNode&);
void lower_mem_limit(Lowering&, const YamlNode&);
void lower_mem_reservation(Lowering&, const YamlNode&);
void lower_cpus(Lowering&, const YamlNode&);
void lower_pids_limit(Lowering&, const YamlNode&);
// compose_container.cc
void lower_volumes(Lowering&, const YamlNode&);
void lower_configs(Lowering&, const YamlNode&);
void lower_networks(Lowering&, const YamlNode&);
void lower_hostname(Lowering&, const YamlNode&);
void lower_dns(Lowering&, const YamlNode&);
void lower_extra_hosts(Lowering&, const YamlNode&);
void lower_mac_address(Lowering&, const YamlNode&);
void lower_sysctls(Lowering&, const YamlNode&);
void lower_capabilities(Lowering&);  // of `cap_add` and `cap_drop` together
// compose_interfaces.cc
void lower_ports(Lowering&, const YamlNode&);
void lower_expose(Lowering&, const YamlNode&);
void lower_depends_on(Lowering&, const YamlNode&);
void lower_links(Lowering&, const YamlNode&);

// nullptr after a complaint.
const YamlNode* expect_text(Lowering&, std::string_view key, const YamlNode& node);
bool expect_form(Lowering&, std::string_view key, const YamlNode& node, YamlNode::Kind kind);
// Complains about keys of `map` that are none of `known`.
void expect_keys(Lowering&, std::string_view at, const YamlNode& map, const std::vector<std::string>& known);
// Values in Compose's form, put at a path of the component or the settings in ours.
void put_duration(Lowering&, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node);
void put_bytes(Lowering&, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node);
void put_text(Lowering&, YamlNode& root, std::string_view path, std::string_view key, const YamlNode& node);

}  // namespace perdure::model::compose
