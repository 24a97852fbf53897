// What tests of standbys need: an owner that makes generations and encodes them, and a table with
// disks in memory. Test programs only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "capsule/format/test_capsules.h"
#include "replica/directory_store.h"
#include "replica/memory_file_system.h"
#include "replica/standby_table.h"

namespace perdure::replica::testing {

inline ContainerName name_of(std::string_view text) {
  return *ContainerName::parse(text);
}

// A capsule of `pages` pages that do not compress; each generation changes the page NUMBER % pages.
inline capsule::Capsule paged_capsule(const ContainerName& container, const Generation& id,
                                      std::uint64_t pages) {
  capsule::Capsule capsule;
  capsule.manifest.container = container.str();
  capsule.manifest.generation = id;
  std::vector<std::pair<std::uint64_t, std::string>> content;
  for (std::uint64_t page = 0; page < pages; ++page) {
    // The newest generation up to this one that changed the page; 0: none has.
    const std::uint64_t back = (id.number + pages - page % pages) % pages;
    const std::uint64_t last = id.number >= back ? id.number - back : 0;
    content.emplace_back(
        page, capsule::testing::noise_page(static_cast<std::uint32_t>(page * 1000 + last)));
  }
  capsule.memory["mm-1"] = capsule::testing::object_of(content);
  capsule.images = {{"core-1.img", "core of " + to_string(id)}};
  return capsule;
}

// Of one container: makes its generations and the messages that bring them.
class TestOwner {
 public:
  explicit TestOwner(std::string_view name, std::uint64_t pages = 8)
      : container(name_of(name)), pages_(pages) {}

  const capsule::Capsule& capsule(const Generation& id) {
    const auto found = capsules_.find(id);
    if (found != capsules_.end()) return found->second;
    return capsules_.emplace(id, paged_capsule(container, id, pages_)).first->second;
  }
  ReceivedCapsule full(const Generation& id,
                       capsule::Compression compression = capsule::Compression::kNone) {
    return message(id, std::nullopt, capsule::testing::encoded_full(capsule(id), compression));
  }
  ReceivedCapsule delta(const Generation& id, const Holding& base) {
    return message(
        id, base,
        capsule::testing::encoded_delta(capsule(id), capsule(base.generation), base.digest));
  }

  const ContainerName container;
  Term term{3};

 private:
  ReceivedCapsule message(const Generation& id, const std::optional<Holding>& base,
                          const capsule::EncodedCapsule& encoded) {
    ReceivedCapsule received{container, term, id, base, std::nullopt, false, nullptr};
    received.bytes = capsule::testing::slab_of(capsule::testing::joined(encoded));
    return received;
  }
  const std::uint64_t pages_;
  std::map<Generation, capsule::Capsule> capsules_;
};

// Where a table spills to: outlives it, as a disk outlives a daemon.
class TestDisk {
 public:
  StandbyTableOptions options(Bytes budget, std::size_t max_chain = 16) {
    StandbyTableOptions options;
    options.memory_budget = budget;
    options.open_store =
        [this, max_chain](const ContainerName& name) -> Result<std::unique_ptr<CapsuleStore>> {
      DirectoryStoreOptions store;
      store.directory = directory(name);
      store.container = name.str();
      store.max_chain = max_chain;
      PERDURE_ASSIGN(auto opened, DirectoryStore::open(store, files));
      return std::unique_ptr<CapsuleStore>(std::move(opened));
    };
    options.remove_store = [this](const ContainerName& name) -> Status {
      for (const std::string& path : files.paths()) {
        if (path.starts_with(directory(name) + "/")) PERDURE_TRY(files.remove(path));
      }
      return {};
    };
    return options;
  }
  static std::string directory(const ContainerName& name) { return "/spill-" + name.str(); }
  std::size_t file_count(const ContainerName& name) const {
    std::size_t count = 0;
    for (const std::string& path : files.paths()) {
      if (path.starts_with(directory(name) + "/") && path.ends_with(".capsule")) ++count;
    }
    return count;
  }
  MemoryFileSystem files;
};

}  // namespace perdure::replica::testing
