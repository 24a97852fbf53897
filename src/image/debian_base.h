// A Debian root file system from packages, by mmdebstrap(1).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::image {

// The essential packages and these, without manuals and translations. INTO must not exist. The host's own package sources are used
// where they have the suite, else Debian's. Ends with this process, and leaves neither mounts nor processes behind. kInvalid: no such
// package; kIo: mmdebstrap's last words.
Status make_debian_base(const std::string& suite, const std::vector<std::string>& packages, const std::string& into, Instant deadline,
                        const std::function<void(std::string_view)>& progress);

// Which of these files of package sources (deb lines or deb822) name the suite.
bool has_suite(std::string_view sources, std::string_view suite);

}  // namespace perdure::image
