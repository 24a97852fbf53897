// The keys of a container's place in an application: `perdure apply` writes them.
#include <cstdint>
#include <utility>

#include "model/spec.h"
#include "model/table.h"

namespace perdure::model {
namespace {

constexpr std::size_t kMaxSponsors = 512;

Table<Vicinity> make_vicinity_table() {
  return {
      list_key<Vicinity>("sponsors", label_codec(), {1, kMaxSponsors}, [](auto& it) -> auto& { return it.sponsors; },
                         {std::string(kRequired), "Of `application.sponsors`; near one of them is enough: they are replicas."}),
      scalar_key<Vicinity>("within",
                           choice_codec<Within>({{"host", Within::kHost}, {"rack", Within::kRack}, {"data-centre", Within::kDataCentre}}),
                           [](auto& it) -> auto& { return it.within; },
                           {std::string(kRequired),
                            "What both have to be in. Racks and data centres are the nodes' labels; where no node has one, all are in one."}),
  };
}

}  // namespace

// Left out of a container that belongs to none.
Table<ContainerSpec> membership_keys() {
  Key<ContainerSpec> sponsors = list_key<ContainerSpec>(
      "application.sponsors", label_codec(), {0, kMaxSponsors}, [](auto& spec) -> auto& { return spec.application.sponsors; },
      {"none", "Containers of the application that this one depends on: it is started behind them and removed before them."});
  sponsors.write = [write = std::move(sponsors.write)](const ContainerSpec& spec) -> std::optional<YamlNode> {
    if (spec.application.sponsors.empty()) return std::nullopt;
    return write(spec);
  };
  return {
      scalar_key<ContainerSpec>("application.name", label_codec(), [](auto& spec) -> auto& { return spec.application.name; },
                                {"none", "The application that the container was made for, by `perdure apply`."}),
      std::move(sponsors),
      map_list_key<ContainerSpec>(
          "application.near", "list of vicinities", {0, kMaxSponsors}, vicinity_table, EmptyList::kNothing,
          [](auto& spec) -> auto& { return spec.application.near; },
          {"none",
           "To which of its sponsors the container has to be how close, from the delay tolerances of its dependencies. One that comes "
           "to be too far from them, because they or it failed over, is moved after them "
           "([application.md](application.md#after-a-failure))."}),
      scalar_key<ContainerSpec>("application.memory", bytes_codec(Bytes{1U << 20}, Bytes{std::uint64_t{16} << 40}),
                                [](auto& spec) -> auto& { return spec.application.memory; },
                                {"nothing", "Memory that was reserved for it on its nodes; `resources.memory` is its limit."}),
      scalar_key<ContainerSpec>("application.cpu", cores_codec({1}, {1'024'000}),
                                [](auto& spec) -> auto& { return spec.application.cpu; },
                                {"nothing", "Cores that were reserved for it."}),
      scalar_key<ContainerSpec>("application.disk", bytes_codec(Bytes{1}, Bytes{std::uint64_t{16} << 40}),
                                [](auto& spec) -> auto& { return spec.application.disk; },
                                {"nothing", "Disk that was reserved for it."}),
  };
}

const Table<Vicinity>& vicinity_table() {
  static const Table<Vicinity> kTable = make_vicinity_table();
  return kTable;
}

}  // namespace perdure::model
