// A hash for names and addresses that must come out the same on every host and in every version. No
// digest: whoever chooses the text can make two alike.
#pragma once

#include <cstdint>
#include <string_view>

namespace perdure {

std::uint64_t stable_hash(std::string_view bytes);

}  // namespace perdure
