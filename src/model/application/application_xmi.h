// An Application from a UML model in XMI and back: components, interfaces, usages and the stereotypes of the profile in
// examples/uml/perdure.profile.uml. What of UML means what is in docs/application.md.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/application/application.h"

namespace perdure::model {

// Thirty times what YAML may have: each thing that is drawn has an id, and is referred to by it.
inline constexpr std::size_t kMaxXmiBytes = std::size_t{8} << 20;

// Understands XMI 2 of UML 2 as Eclipse (Papyrus), Enterprise Architect and the OMG write it. kInvalid with one line per error,
// as read_application() (application_yaml.h), whose rules hold and whose keys the messages name. Relative paths of the host
// start at `base_directory`; if it is empty they are refused. Work and memory are bounded whatever the input.
Result<Application> read_application_xmi(std::string_view xmi, std::string_view file_name, std::string_view base_directory = {});

// Canonical, as Eclipse UML2 5 writes it: what differs from its default, in the order of docs/application.md. The profile is
// looked for beside it. For an application that satisfies the rules, read_application_xmi(to_xmi(a)) == a.
std::string to_xmi(const Application& application);

// The whole text of examples/uml/perdure.profile.uml, made from the table of keys.
std::string uml_profile_xmi();

}  // namespace perdure::model
