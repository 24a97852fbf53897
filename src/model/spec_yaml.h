// A ContainerSpec from YAML and back. The keys are documented in docs/spec.md (model/spec_keys.h).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/spec.h"

namespace perdure::model {

// A spec is written by a person; what is larger is no spec, and parsing it would only cost time.
inline constexpr std::size_t kMaxSpecBytes = std::size_t{256} << 10;
// More than a screen of errors helps nobody.
inline constexpr std::size_t kMaxSpecErrors = 20;

// kInvalid with one line per error, `FILE:LINE:COLUMN: message; remedy`, in the order of the file,
// at most kMaxSpecErrors of them. Lines and columns count from 1, columns in bytes. Refuses unknown
// and duplicate keys, tags, merge keys, a second document, and whatever exceeds a limit of
// docs/spec.md. `file_name` appears in messages only.
// Relative paths of the host start at `base_directory`, which is absolute; if it is empty they are
// refused.
Result<ContainerSpec> read_spec(std::string_view yaml, std::string_view file_name,
                                std::string_view base_directory = {});

// The same for a file, in whose directory relative paths start. In addition: the errors of opening
// and reading it.
Result<ContainerSpec> read_spec_file(const std::string& path);

// Canonical: every key with its value, defaults included, absent ones left out, in the order of
// docs/spec.md. For a spec that satisfies the rules, read_spec(to_yaml(s)) == s.
std::string to_yaml(const ContainerSpec& spec);

// Keys that have different values, in the order of docs/spec.md: "checkpoint.interval". Empty: they are equal.
std::vector<std::string> differing_keys(const ContainerSpec& one, const ContainerSpec& other);

// What a command says of an archive (by its suffix) or an OCI image layout, by the rules of a spec's keys; an empty tag is the
// default one. kInvalid.
Result<RootFilesystem> parse_image_source(std::string_view path, std::string_view tag);

}  // namespace perdure::model
