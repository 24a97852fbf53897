// What a root file system's tree consists of: names, link targets and the attributes that belong to an image.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "image/archive_format.h"

namespace perdure::image {

// The names in a directory but "." and "..", sorted by their bytes. PATH is for messages.
Result<std::vector<std::string>> list_names(int directory_fd, const std::string& path);
Result<std::string> read_link(int directory_fd, const std::string& name, const std::string& path);
// Of what NAME is, links not followed, sorted by name. An empty NAME: of the directory itself.
Result<Attributes> read_attributes(int directory_fd, const std::string& name, const std::string& path);

// A name beneath a directory descriptor for calls that take paths only.
std::string proc_path(int directory_fd, const std::string& name);

// The directory PATH ("a/b"; "": ROOT_FD itself) beneath ROOT_FD, through no link and no mount.
Result<UniqueFd> open_directory_beneath(int root_fd, const std::string& path);

}  // namespace perdure::image
