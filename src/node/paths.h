// Where everything lies. One instance per daemon; tests and lab nodes use other roots.
#pragma once

#include <string>

#include "base/ids.h"

namespace perdure::node {

struct Paths {
  std::string run_dir = "/run/perdure";      // vanishes with a reboot
  std::string state_dir = "/var/lib/perdure";  // survives it
  std::string cgroup = "perdure";            // below the v2 mount; a container is a cgroup in it
  std::string libexec_dir;  // what perdured starts and loads; perdured's: where it was installed

  std::string socket() const { return run_dir + "/perdured.sock"; }
  std::string scratch() const { return run_dir + "/scratch"; }  // a tmpfs: CRIU's images of one call
  std::string runc_root() const { return run_dir + "/runc"; }
  std::string bpf() const { return run_dir + "/bpf"; }
  std::string images() const { return state_dir + "/images"; }
  std::string containers() const { return state_dir + "/containers"; }
  std::string capsules() const { return state_dir + "/capsules"; }
  std::string incarnation() const { return state_dir + "/incarnation"; }
  std::string events() const { return state_dir + "/events.jsonl"; }
  std::string logger() const { return libexec_dir + "/perdure-logger"; }
  std::string agent() const { return libexec_dir + "/perdure-agent"; }
  std::string pagemap_filter() const { return libexec_dir + "/perdure-pagemap-filter.so"; }
  std::string standby() const { return libexec_dir + "/perdure-standby.so"; }
};

// Of one container.
struct ContainerPaths {
  ContainerPaths(const Paths& paths, const ContainerName& name)
      : home(paths.containers() + "/" + name.str()),
        network_namespace(paths.run_dir + "/netns/" + name.str()),
        cgroup(paths.cgroup + "/" + name.str()),
        capsules(paths.capsules() + "/" + name.str()) {}

  std::string home;
  std::string network_namespace;
  std::string cgroup;    // relative to the v2 mount
  std::string capsules;  // the durable store

  std::string spec() const { return home + "/spec.yaml"; }
  std::string state() const { return home + "/state.json"; }
  std::string bundle() const { return home + "/bundle"; }
  std::string rw() const { return home + "/rw"; }
  std::string upper() const { return rw() + "/upper"; }
  std::string merged() const { return home + "/merged"; }
  std::string staging() const { return home + "/staging"; }
  std::string logs() const { return home + "/logs"; }
  std::string volume(const std::string& volume_name) const { return home + "/volumes/" + volume_name; }
  std::string enslavement() const { return home + "/nic.json"; }
};

}  // namespace perdure::node
