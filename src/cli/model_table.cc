// The command table, continued: applications.
#include <array>

#include "cli/command_parts.h"
#include "cli/command_table.h"

namespace perdure::cli {
namespace {

using enum ValueKind;

constexpr Option kProfile{kProfileOption, 0, "NAME", kText,
                          "Of a Compose file: also the services of this profile; '*' is all. COMPOSE_PROFILES has more.", true};
constexpr Option kEnvFile{kEnvFileOption, 0, "FILE", kFile, "Of a Compose file: variables, instead of those of .env beside it."};

constexpr std::array kCheckArguments{
    Argument{kFileArgument, kFile, true, "The application's model: YAML (perdure-application(5)), a UML model in XMI, or a Compose file."}};
constexpr std::array kCheckOptions{kProfile, kEnvFile};
constexpr std::array kCheckExamples{
    Example{"perdure model check shop.yaml", "Exit code 0 if it is right, 5 and one line per error if not."}};

constexpr std::array kSchemaExamples{
    Example{"perdure model schema > shop.schema.json", "Beside the model, for the editor."}};

constexpr std::array kModelOnly{Argument{kFileArgument, kFile, true, "The application's model, in whichever form."}};
constexpr std::array kApplicationOnly{Argument{kApplicationArgument, kContainer, true, "The application, as its model names it."}};
constexpr std::array kPlanOptions{
    Option{kFormatOption, 0, "FORMAT", kPlanFormat,
           "text, json with stable field names, or what another system is given: kubernetes (a List in JSON, for kubectl apply -f) or nomad "
           "(a job in JSON). What of the model that system cannot express is said on standard error."},
    kProfile, kEnvFile};
constexpr std::array kPlanExamples{
    Example{"perdure plan shop.yaml", "Where each container would run, how available that is, and what a dead node would cause."},
    Example{"perdure plan shop.yaml --format kubernetes > shop.json", "The same placement as a recommendation to Kubernetes."}};
constexpr Option kFresh{kFreshOption, 0, "", kFlag,
                        "Ask for packages anew, instead of taking images that were built from them before."};
constexpr std::array kDiffOptions{kFresh, kProfile, kEnvFile};
constexpr std::array kDiffExamples{Example{"perdure diff shop.yaml", "Exit code 0 if nothing would change, 8 if something would."}};
constexpr std::array kBuildOptions{kFresh, kProfile, kEnvFile};
constexpr std::array kBuildExamples{
    Example{"perdure image build shop.yaml", "One line for each container; 'skopeo copy oci:LAYOUT:latest docker://...' pushes one elsewhere."}};
constexpr std::array kApplyOptions{kFresh, kYes, kProfile, kEnvFile};
constexpr std::array kApplyExamples{
    Example{"perdure apply shop.yaml", "The first time it starts everything; after a change of the model only what differs."}};
constexpr std::array kDeleteOptions{kYes};
constexpr std::array kDeleteExamples{Example{"perdure delete shop", "Dependants first."}};

constexpr std::array kAddArguments{
    Argument{kSourceArgument, kFile, true, "An OCI image layout (a directory), or an archive: .tar, .tar.gz, .tar.zst."}};
constexpr std::array kAddOptions{
    Option{kTagOption, 0, "TAG", kText, "Which image of the layout, instead of latest."}, kJson};
constexpr std::array kAddExamples{
    Example{"perdure image add images/redis --tag 7", "Prints the digest to write into 'root-filesystem: {image: ...}'."}};

constexpr std::array kConvertArguments = kCheckArguments;
constexpr std::array kConvertOptions{
    Option{kToOption, 0, "FORM", kWrittenForm,
           "yaml, xmi (UML, as Eclipse and Papyrus read it) or plantuml (a diagram to look at, from which nothing is read back)."},
    Option{kFromOption, 0, "FORM", kModelForm, "yaml, xmi or compose; without it FILE is looked at."},
    Option{kOutputOption, 'o', "FILE", kFile, "Where it is written to, instead of standard output."},
    Option{kForceOption, 0, "", kFlag, "Replace the file if it is there."},
    kProfile, kEnvFile};
constexpr std::array kConvertExamples{
    Example{"perdure model convert shop.yaml --to xmi --output shop.uml", "A model for Papyrus; the profile goes beside it."},
    Example{"perdure model convert compose.yaml --to yaml --output shop.yaml", "A Compose file becomes a model of its own."},
    Example{"perdure model convert shop.uml --to plantuml | plantuml -p -tsvg > shop.svg", "A picture of it."}};
constexpr std::array kDrawOptions{
    Option{kPlacementOption, 0, "", kFlag,
           "Also where 'plan' would place each container: its node, and those that stand by. Asks perdured, on a host of the cluster."},
    Option{kOutputOption, 'o', "FILE", kFile, "Where it is written to, instead of standard output."},
    Option{kForceOption, 0, "", kFlag, "Replace the file if it is there."},
    kProfile, kEnvFile};
constexpr std::array kDrawExamples{
    Example{"perdure model draw shop.yaml --output shop.svg", "A picture for a browser, or for a page about the application."},
    Example{"perdure model draw shop.yaml --placement -o shop.svg --force", "The same with the nodes of this cluster."}};
constexpr std::array kProfileExamples{
    Example{"perdure model profile > perdure.profile.uml", "Beside the model, where it is looked for."}};

constexpr std::array kModelCommands{
    Command{.id = CommandId::kPlan,
            .name = "plan",
            .summary = "show where the containers of an application would run, and how available that is",
            .description = "Changes nothing. Which containers the components share, where each would run and who would stand by, "
                           "why there, the expected availability with its arithmetic, and what the failure of each node and of each "
                           "rack would cause. Containers that run already stay where they are as long as they may.",
            .arguments = kModelOnly,
            .options = kPlanOptions,
            .examples = kPlanExamples,
            .json = ""},
    Command{.id = CommandId::kDiff,
            .name = "diff",
            .summary = "show what 'apply' would change",
            .description = "Builds the images of containers that run already, to know whether they are still the same; changes "
                           "nothing else. Exits with code 8 if something would be changed.",
            .arguments = kModelOnly,
            .options = kDiffOptions,
            .examples = kDiffExamples,
            .json = ""},
    Command{.id = CommandId::kApply,
            .name = "apply",
            .summary = "make the cluster run an application as its model says",
            .description = "Plans, says what it would change and asks; then builds the images, makes them known to the cluster and "
                           "starts each container on its node, behind those that it depends on, waiting until its components are "
                           "ready and its standbys stand by. Run it again after a change of the model, or of the cluster: what is "
                           "as it should be is left alone, what only has to run elsewhere is moved with its memory and its "
                           "connections. A container whose specification has changed is removed, with its memory and its files, "
                           "and started anew; that is said before.\n"
                           "If a step fails, what was done before it stays, and 'apply' goes on from there when it is run again.",
            .arguments = kModelOnly,
            .options = kApplyOptions,
            .examples = kApplyExamples,
            .json = ""},
    Command{.id = CommandId::kDelete,
            .name = "delete",
            .summary = "remove all containers of an application",
            .description = "With their memory, their files and their generations, dependants before those that they depend on. Says "
                           "so and asks.",
            .arguments = kApplicationOnly,
            .options = kDeleteOptions,
            .examples = kDeleteExamples,
            .json = ""},
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
    Command{.id = CommandId::kImageBuild,
            .name = "image build",
            .summary = "build the images of an application, and nothing else",
            .description = "What 'apply' begins with, on a host that can reach Debian's packages: prints for each container its name, "
                           "the digest of its image and the OCI layout that holds it under the tag latest. The same model gives the "
                           "same digests; 'apply' takes what is there. Needs no perdured.",
            .arguments = kModelOnly,
            .options = kBuildOptions,
            .examples = kBuildExamples,
            .json = ""},
    Command{.id = CommandId::kModelCheck,
            .name = "model check",
            .summary = "check the model of an application, and say what follows from it",
            .description = "Which components are stateful, how often what they have in memory is kept, what a failure of "
                           "each concerns, who depends on whom, and which of them share a container. Starts nothing, and needs no "
                           "perdured.",
            .arguments = kCheckArguments,
            .options = kCheckOptions,
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
    Command{.id = CommandId::kModelConvert,
            .name = "model convert",
            .summary = "write the model of an application in another form",
            .description = "Reads a model as 'model check' does, in whichever form it is, and writes it in the one that --to says. "
                           "Paths of this host become absolute, and what is as its default is left out. Needs no perdured.",
            .arguments = kConvertArguments,
            .options = kConvertOptions,
            .examples = kConvertExamples,
            .json = ""},
    Command{.id = CommandId::kModelDraw,
            .name = "model draw",
            .summary = "draw the component diagram of an application, as SVG",
            .description = "Components with the interfaces that they provide (balls: protocol and port, state sensitivity) and require "
                           "(sockets: delay and outage tolerance), from left to right, and the containers that they share. The same "
                           "model gives the same picture. Without --placement it needs no perdured.",
            .arguments = kCheckArguments,
            .options = kDrawOptions,
            .examples = kDrawExamples,
            .json = ""},
    Command{.id = CommandId::kModelProfile,
            .name = "model profile",
            .summary = "print the UML profile of an application's model",
            .description = "The stereotypes that a component diagram says with what UML has no place for, one attribute for each key "
                           "of 'model reference'. For Papyrus and other tools on Eclipse UML2. Needs no perdured.",
            .arguments = {},
            .options = {},
            .examples = kProfileExamples,
            .json = ""},
};

}  // namespace

std::span<const Command> model_command_table() { return kModelCommands; }

}  // namespace perdure::cli
