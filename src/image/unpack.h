// Spawning what unpacks: tar and umoci.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace perdure::image {

// What programs that are spawned here see: the usual PATH, and untranslated messages.
std::vector<std::string> tool_environment();

// Unpacks ARCHIVE (.tar, .tar.gz, .tar.zst, told by its name) into the empty directory INTO, with
// owners, modes, capabilities and device nodes. kInvalid: not such an archive, or members that
// leave INTO by ".." or through a link (GNU tar refuses those); INTO then holds a part and must be
// thrown away.
Status unpack_tar(const std::string& archive, const std::string& into, Instant deadline);

// Unpacks LAYOUT:TAG so that INTO becomes its root file system; INTO must not exist, SCRATCH
// neither.
Status unpack_oci(const std::string& layout_dir, const std::string& tag, const std::string& scratch,
                  const std::string& into, Instant deadline);

}  // namespace perdure::image
