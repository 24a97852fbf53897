// The command table, continued: applications.
#include <array>

#include "cli/command_parts.h"
#include "cli/command_table.h"

namespace perdure::cli {
namespace {

using enum ValueKind;

constexpr std::array kCheckArguments{Argument{kFileArgument, kFile, true, "The application's model."}};
constexpr std::array kCheckExamples{
    Example{"perdure model check shop.yaml", "Exit code 0 if it is right, 5 and one line per error if not."}};

constexpr std::array kSchemaExamples{
    Example{"perdure model schema > shop.schema.json", "Beside the model, for the editor."}};

constexpr std::array kAddArguments{
    Argument{kSourceArgument, kFile, true, "An OCI image layout (a directory), or an archive: .tar, .tar.gz, .tar.zst."}};
constexpr std::array kAddOptions{
    Option{kTagOption, 0, "TAG", kText, "Which image of the layout, instead of latest."}, kJson};
constexpr std::array kAddExamples{
    Example{"perdure image add images/redis --tag 7", "Prints the digest to write into 'root-filesystem: {image: ...}'."}};

constexpr std::array kCommands{
    Command{.id = CommandId::kImageAdd,
            .name = "image add",
            .summary = "make an image known to the cluster by its digest",
            .description = "Unpacks it on this node, once per content. A specification that names the digest as its "
                           "root file system runs on any node: one that lacks the image fetches it from one that has it. An "
                           "image that no container needs is removed after a while (perdured --image-life).",
            .arguments = kAddArguments,
            .options = kAddOptions,
            .examples = kAddExamples,
            .json = "image add"},
    Command{.id = CommandId::kModelCheck,
            .name = "model check",
            .summary = "check the model of an application, and say what follows from it",
            .description = "Which components are stateful, how often what they have in memory is kept, what a failure of "
                           "each concerns, who depends on whom, and which of them share a container. Starts nothing, and needs no "
                           "perdured.",
            .arguments = kCheckArguments,
            .options = {},
            .examples = kCheckExamples,
            .json = ""},
    Command{.id = CommandId::kModelReference,
            .name = "model reference",
            .summary = "print the reference of an application's model",
            .description = "Every key with its meaning. Needs no perdured.",
            .arguments = {},
            .options = {},
            .examples = {},
            .json = ""},
    Command{.id = CommandId::kModelSchema,
            .name = "model schema",
            .summary = "print the JSON Schema of an application's model",
            .description = "For editors that complete and check a file while it is written: one whose first line is "
                           "'# yaml-language-server: $schema=shop.schema.json' is checked by it. What binds several keys only "
                           "'model check' knows. Needs no perdured.",
            .arguments = {},
            .options = {},
            .examples = kSchemaExamples,
            .json = ""},
};

}  // namespace

std::span<const Command> model_command_table() { return kCommands; }

}  // namespace perdure::cli
