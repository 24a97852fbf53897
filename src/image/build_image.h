// The Integration Module (paper III-B): from a recipe to an OCI image with the agent as its entry point.
//
// Reproducible: the same recipe, agent and sources of packages give the same bytes, wherever and whenever it is built. Names are
// sorted, owners are numbers, what the building itself writes has the time of the packages' release.
//
// What was built is kept below the cache's directory, under a digest of all that went into it:
//
//   bases/HEX/rootfs  a Debian root file system, under the digest of its suite and its packages
//   layouts/HEX/oci   an OCI image layout with one image, "latest"
//   .building-HEX-*   somebody is at it; removed by the next build when that one has died
//
// Packages are asked for again only with `fresh`: else an image that is there is the same image tomorrow. Blocking, any thread;
// needs root, umoci, and mmdebstrap for packages.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "image/recipe.h"

namespace perdure::image {

inline constexpr std::string_view kBuildCacheDirectory = "/var/cache/perdure";

struct BuildOptions {
  std::string cache_dir{kBuildCacheDirectory};  // made when missing, mode 0700
  std::string agent_program{};                  // on this host
  // What the agent is told, once the root file system is there, in which users are looked up. `configuration_source` is what it
  // follows from beside that: it goes into the digest.
  std::function<Result<std::string>(const std::string& root_dir)> configuration{};
  std::string configuration_source{};
  bool fresh = false;
  Instant deadline = Instant::max();
  std::function<void(std::string_view)> progress{};  // may be empty; called from the calling thread
};

struct BuiltImage {
  std::string layout_dir{};  // with the tag "latest"
  std::string digest{};      // of its manifest: what `image add` answers
  bool cached = false;       // it was there
};

// kNotFound: a source or a program is not there. kInvalid: a source is no such thing, or a package does not exist. kNoSpace,
// kTimeout, kIo: mmdebstrap's or umoci's last words. Nothing half made is left to be found.
Result<BuiltImage> build_image(const Recipe& recipe, const BuildOptions& options);

}  // namespace perdure::image
