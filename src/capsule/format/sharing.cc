#include "capsule/format/sharing.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "capsule/format/index.h"

namespace perdure::capsule {
namespace {

std::uint64_t share(PagedObject& object, const PagedObject* parent) {
  if (parent == nullptr) return object.page_count() * kPageSize;
  PagedObject shared;
  std::uint64_t changed_pages = 0;
  object.compare_with(*parent, [&](const PageRun& here, const PageRun* in_parent) {
    if (in_parent == nullptr) changed_pages += here.page_count;
    const Status appended = shared.append(in_parent == nullptr ? here : *in_parent);
    PERDURE_ASSERT(appended.has_value());
  });
  object = std::move(shared);
  return changed_pages * kPageSize;
}

// Every paged object of a capsule, in a fixed order.
template <typename SomeCapsule, typename Visit>
void for_each_object(SomeCapsule& capsule, Visit&& visit) {
  for (auto& [name, object] : capsule.memory) visit(object);
  for (auto& tree : capsule.trees) {
    for (auto& entry : tree.entries) visit(entry.content);
  }
}

using LiveBytes = std::map<SlabRef, std::uint64_t>;

LiveBytes live_bytes(const Capsule& capsule) {
  LiveBytes live;
  for_each_object(capsule, [&](const PagedObject& object) {
    for (const PageRun& run : object.runs()) {
      if (!run.slab->is_file()) live[run.slab] += run.page_count * kPageSize;
    }
  });
  return live;
}

std::set<SlabRef> slabs_to_copy(const LiveBytes& live, const CompactionPolicy& policy) {
  std::set<SlabRef> chosen;
  std::vector<std::pair<std::uint64_t, SlabRef>> kept;  // by live bytes
  for (const auto& [slab, bytes] : live) {
    const double fraction = static_cast<double>(bytes) / static_cast<double>(slab->bytes().size());
    if (fraction < policy.minimum_live_fraction) {
      chosen.insert(slab);
    } else {
      kept.emplace_back(bytes, slab);
    }
  }
  if (kept.size() <= policy.maximum_slabs) return chosen;
  // Half of the allowance is kept, so that the next generations can add slabs without a merge each.
  std::ranges::sort(kept, {}, &std::pair<std::uint64_t, SlabRef>::first);
  for (std::size_t i = 0; i + policy.maximum_slabs / 2 < kept.size(); ++i) {
    chosen.insert(kept[i].second);
  }
  return chosen;
}

PagedObject moved(const PagedObject& object, const std::set<SlabRef>& from,
                  const std::shared_ptr<Slab>& to, std::uint64_t& used) {
  PagedObject result;
  for (const PageRun& run : object.runs()) {
    PageRun copy = run;
    if (from.contains(run.slab)) {
      const auto bytes = run.bytes();
      std::memcpy(to->writable().data() + used, bytes.data(), bytes.size());
      copy.slab = to;
      copy.slab_offset = used;
      used += bytes.size();
    }
    const Status appended = result.append(std::move(copy));
    PERDURE_ASSERT(appended.has_value());
  }
  return result;
}

}  // namespace

SharedCapsule share_unchanged(Capsule child, const Capsule& parent) {
  SharedCapsule shared;
  for (auto& [name, object] : child.memory) {
    const auto found = parent.memory.find(name);
    shared.memory_changed.count +=
        share(object, found == parent.memory.end() ? nullptr : &found->second);
  }
  for (FileTree& tree : child.trees) {
    const FileTree* old_tree = find_tree(&parent, tree.volume);
    for (FileEntry& entry : tree.entries) {
      const FileEntry* old = old_tree == nullptr ? nullptr : find_entry(*old_tree, entry.path);
      shared.files_changed.count += share(entry.content, old == nullptr ? nullptr : &old->content);
    }
  }
  shared.capsule = std::move(child);
  return shared;
}

Result<CompactionResult> compact(const Capsule& capsule, const CompactionPolicy& policy) {
  const LiveBytes live = live_bytes(capsule);
  const std::set<SlabRef> chosen = slabs_to_copy(live, policy);
  CompactionResult result;
  for (const SlabRef& slab : chosen) result.copied.count += live.at(slab);
  result.slabs_released = chosen.size();
  result.capsule = capsule;
  if (chosen.empty()) return result;
  PERDURE_ASSIGN(const auto target, Slab::allocate(result.copied.count, Slab::Prefault::kNo));
  std::uint64_t used = 0;
  for_each_object(result.capsule, [&](PagedObject& object) {
    const bool concerned = std::ranges::any_of(
        object.runs(), [&](const PageRun& run) { return chosen.contains(run.slab); });
    if (concerned) object = moved(object, chosen, target, used);
  });
  PERDURE_ASSERT(used == result.copied.count);
  return result;
}

Footprint footprint_of(const CapsuleRef& capsule) {
  Footprint footprint;
  if (capsule == nullptr) return footprint;
  std::set<const Slab*> seen;
  std::uint64_t pages = 0;
  for_each_object(*capsule, [&](const PagedObject& object) {
    pages += object.page_count();
    footprint.other_bytes += object.runs().size() * sizeof(PageRun);
    const Slab* last = nullptr;
    for (const PageRun& run : object.runs()) {
      if (run.slab.get() == last) continue;  // most follow one of the same slab
      last = run.slab.get();
      if (!seen.insert(last).second) continue;
      if (last->is_file()) {
        footprint.maps_files = true;
      } else {
        footprint.slabs.emplace_back(last, last->bytes().size());
      }
    }
  });
  for (const FileTree& tree : capsule->trees) footprint.other_bytes += tree.entries.size() * sizeof(FileEntry);
  footprint.other_bytes += full_size(*capsule).count - pages * kPageSize;
  return footprint;
}

void FootprintSum::add(const Footprint& footprint) {
  bytes_.count += footprint.other_bytes;
  for (const auto& [slab, bytes] : footprint.slabs) {
    if (seen_.insert(slab).second) bytes_.count += bytes;
  }
}

}  // namespace perdure::capsule
