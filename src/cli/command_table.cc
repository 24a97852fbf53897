#include "cli/command_table.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/assert.h"
#include "cli/command_parts.h"

namespace perdure::cli {
namespace {

using enum ValueKind;

constexpr Option kFollow{kFollowOption, 'f', "", kFlag,
                         "Go on with what is new until interrupted."};
constexpr Option kGenerationToUse{
    kGenerationOption, 'g', "G", kGeneration,
    "This generation instead of the newest committed one that verifies."};
constexpr Option kSince{kSinceOption, 0, "WHEN", kMoment,
                        "Only what is newer: a duration before now (10min) or a time "
                        "(2026-01-31T12:00:00Z)."};

constexpr std::array kGlobalOptions{
    Option{kSocketOption, 0, "PATH", kFile, "The control socket of perdured."},
    Option{kTimeoutOption, 0, "DURATION", kDuration,
           "Give up after so long a silence of perdured (default: 10s for commands that read, 5min "
           "for those that "
           "change something, none with --follow)."},
    Option{kHelpOption, 'h', "", kFlag, "Print help and exit."},
    Option{kVersionOption, 0, "", kFlag, "Print the version of this program and exit."},
};

// run
constexpr std::array kRunArguments{
    Argument{kSpecArgument, kFile, true,
             "The specification, a YAML file (perdure-spec(5)); - reads standard input."}};
constexpr std::array kRunOptions{
    Option{kNodeOption, 0, "NODE", kNode,
           "Run it on this node of the cluster instead of this one; paths of the host are that node's."},
    kYes, kJson};
constexpr std::array kRunExamples{
    Example{"perdure run web.yaml", "Start the container that web.yaml describes and protect it."}};

// inspect
constexpr std::array kInspectOptions{
    Option{kSpecOption, 0, "", kFlag,
           "Print the specification the container was made from, and nothing else."},
    kJson};

// explain
constexpr std::array kExplainOptions{
    Option{kHereOption, 0, "", kFlag,
           "From this node's events, whoever owns the container: what happened here before it went to another node."},
    kJson};
constexpr std::array kExplainExamples{
    Example{"perdure explain web", "What failed last, what was done about it and why, and what would be done next time."}};

// logs
constexpr std::array kLogsOptions{
    kFollow, Option{kTailOption, 'n', "N", kCount, "Only the last N lines of what is there."},
    kSince, kJson};
constexpr std::array kLogsExamples{
    Example{"perdure logs --tail 20 -f web", "The last 20 lines, then what comes."}};

// generations
constexpr std::array kGenerationsExamples{Example{
    "perdure generations --json web | jq -r '.generations[] | select(.durable) | .generation'",
    "The generations that survive a power cut."}};

// status
constexpr std::array kStatusArguments{
    Argument{kApplicationArgument, kContainer, false,
             "Only this application: its components, with their health, where they run, and how they are protected."}};
constexpr std::array kStatusExamples{
    Example{"perdure status shop", "The application that 'perdure apply' has started."},
    Example{"perdure status --json | jq -r '.problems[] | .object + \": \" + .what'",
            "What is not as it should be, one per line."}};

// restore
constexpr std::array kRestoreOptions{kGenerationToUse, kYes, kJson};
constexpr std::array kRestoreExamples{
    Example{"perdure restore web", "Go back to the newest committed generation."},
    Example{"perdure restore --generation 1.2f.41 --yes web",
            "Go back to this one, without a question."}};

// export, import
constexpr std::array kExportArguments{
    kName, Argument{kFileArgument, kFile, true,
                    "The archive to make; must not exist. - writes to standard output."}};
constexpr std::array kExportOptions{kGenerationToUse, kJson};
constexpr std::array kExportExamples{
    Example{"perdure export web web.capsule", "Keep the newest committed generation in a file."},
    Example{"perdure export web - | ssh other perdure import -", "Copy it to another host."}};
constexpr std::array kImportArguments{
    Argument{kFileArgument, kFile, true, "The archive; - reads standard input."}};
constexpr std::array kImportOptions{Option{kNameOption, 0, "NAME", kContainer,
                                           "Name the container so, instead of as in the archive."},
                                    kJson};

// stop, start, rm
constexpr std::array kStopOptions{
    Option{kDeadlineOption, 0, "DURATION", kDuration,
           "From the stop signal to the kill, instead of what the specification says."},
    kJson};

constexpr std::array kRemoveOptions{
    Option{kForceOption, 'f', "", kFlag,
           "Kill it if it runs; without this a running container is refused."},
    Option{kKeepCapsulesOption, 0, "", kFlag, "Leave its generations in the durable store."}, kYes,
    kJson};

// events
constexpr std::array kEventsArguments{
    Argument{kNameArgument, kContainer, false, "Only events of this container."}};
constexpr std::array kEventsOptions{kFollow, kSince, kJson};
constexpr std::array kEventsExamples{
    Example{"perdure events --json -f | jq -c 'select(.kind == \"restored\")'",
            "One line for each recovery, as it happens."}};

// lab
constexpr std::array kLabArguments{
    Argument{"VERB", kLabVerb, true, "What to do; 'perdure lab VERB --help' explains it."},
    Argument{"ARGUMENT...", kText, false, "Of the verb."}};
constexpr std::array kLabExamples{
    Example{"perdure lab up --nodes 3", "Three nodes with perdured, one cluster."},
    Example{"perdure lab status", "The nodes, their perdured, and what is cut."},
    Example{"perdure lab shell 1", "A shell on node 1; 'perdure list' asks the perdured there."},
    Example{"perdure lab exec all perdure list", "A command on every node."},
    Example{"perdure lab client", "A shell in a new client on the LAN, on no node."},
    Example{"perdure lab kill 1", "Node 1 loses its power: it sends nothing more, no FIN either."},
    Example{"perdure lab boot 1", "It starts again with its disk and with empty memory."},
    Example{"perdure lab pause 2; perdure lab resume 2", "Node 2 stands still, then goes on."},
    Example{"perdure lab cut 1 2", "Nodes 1 and 2 hear nothing of each other; --one-way: 2 of 1."},
    Example{"perdure lab heal", "All cuts are healed."},
    Example{"perdure lab daemon 1 kill", "perdured alone is killed; start brings it back."},
    Example{"perdure lab down", "Everything is removed."}};

// spec, completion, help
constexpr std::array kSpecOptions{
    Option{kCheckOption, 0, "FILE", kFile,
           "Read this specification and say what is wrong with it; start nothing."}};
constexpr std::array kSpecExamples{
    Example{"perdure spec --check web.yaml",
            "Exit code 0 if it is right, 5 and one line per error if not."}};
constexpr std::array kCompletionArguments{
    Argument{kShellArgument, kShell, true, "bash, zsh or fish."}};
constexpr std::array kCompletionExamples{
    Example{"perdure completion bash > /etc/bash_completion.d/perdure", "For bash."},
    Example{"perdure completion zsh > /usr/local/share/zsh/site-functions/_perdure", "For zsh."},
    Example{"perdure completion fish > ~/.config/fish/completions/perdure.fish", "For fish."}};
constexpr std::array kHelpArguments{
    Argument{kCommandArgument, kCommand, false,
             "The command to explain; cluster and node list theirs.", true}};
constexpr std::array kCompleteArguments{
    Argument{kWhatArgument, kText, true, "containers, nodes, or generations."},
    Argument{kNameArgument, kText, false, "The container whose generations are wanted."}};

constexpr std::array kCommands{
    Command{.id = CommandId::kRun,
            .name = "run",
            .summary = "create a container from a specification, start and protect it",
            .description = "Reads the specification, unpacks the image, starts the container and "
                           "waits until its first generation "
                           "is committed: from then on a failure is recovered with its memory, "
                           "files and address. Relative paths "
                           "of the host start at the directory of the specification (with -, at "
                           "the current directory).\n"
                           "If the container runs but cannot be protected, the command says why "
                           "and what to do, leaves it "
                           "running, and exits with code 8.\n"
                           "A specification that makes a network interface of the host a port of a "
                           "bridge is asked about twice: "
                           "before the change, and after it, whether the host is still reachable; "
                           "without a yes in time the "
                           "interface goes back to what it was. With --yes nobody looks: do not "
                           "use it over that interface.",
            .arguments = kRunArguments,
            .options = kRunOptions,
            .examples = kRunExamples,
            .json = "run"},
    Command{.id = CommandId::kStatus,
            .name = "status",
            .summary = "say on one screen whether all is well, and what to do if it is not",
            .description =
                "The cluster (if this host is in one), the containers of all its nodes, and below "
                "them what is not as it should be, each with what to do. BY names those who bring a "
                "container back: the standbys that are ready, or its host alone. "
                "COMMITTED is what a failure now would lose, DURABLE what a power cut of all nodes "
                "would. LAST RECOVERY is the newest restore or takeover since perdured started: how "
                "long it took until its processes ran again, and when it was.\n"
                "Exits with code 8 if a container that should run is not protected, reaches none of "
                "the addresses that it should and cannot be moved, or has fewer "
                "standbys than wanted, if the cluster has no quorum, if a node cannot be reached or "
                "if this node's certificate was not renewed. Advice changes nothing of that.",
            .arguments = kStatusArguments,
            .options = kJsonOnly,
            .examples = kStatusExamples,
            .json = "status"},
    Command{.id = CommandId::kList,
            .name = "list",
            .summary = "show all containers and whether they are protected",
            .description = "One line per container; reasons and remedies of those that are not "
                           "protected follow below the table. "
                           "COMMITTED is the age of the newest generation that a failure of the "
                           "container would come back to, "
                           "DURABLE the age of the newest that survives a power cut. In a cluster "
                           "it shows the containers of all nodes: NODE is the owner, STANDBYS how "
                           "many are ready of how many are wanted. Columns that "
                           "do not fit the terminal are "
                           "left out, the least important first; --json has them all.",
            .arguments = {},
            .options = kJsonOnly,
            .examples = {},
            .json = "list"},
    Command{.id = CommandId::kInspect,
            .name = "inspect",
            .summary = "show everything about one container",
            .description = "Its phase, owner and standbys, protection, generations, last capture "
                           "and restore, network, volumes and what "
                           "happened lately.",
            .arguments = kNameOnly,
            .options = kInspectOptions,
            .examples = {},
            .json = "inspect"},
    Command{.id = CommandId::kExplain,
            .name = "explain",
            .summary = "say why the last recovery of a container went as it did",
            .description = "What failed and how that was seen, each step that was taken with its reason, how long it took, and what "
                           "would follow another failure now. What fails again while on probation is part of the same recovery. It is "
                           "told from the events of the node that owns the container, as far back as they go.",
            .arguments = kNameOnly,
            .options = kExplainOptions,
            .examples = kExplainExamples,
            .json = "explain"},
    Command{.id = CommandId::kLogs,
            .name = "logs",
            .summary = "print what a container wrote to its standard output and error",
            .description = "Standard output goes to standard output, standard error to standard "
                           "error, byte for byte. "
                           "After a restore the log goes on where it was: lines that the container "
                           "writes a second "
                           "time appear twice.",
            .arguments = kNameOnly,
            .options = kLogsOptions,
            .examples = kLogsExamples,
            .json = "log line"},
    Command{
        .id = CommandId::kCheckpoint,
        .name = "checkpoint",
        .summary = "take a generation now and wait until it is committed",
        .description =
            "In addition to those that perdured takes by itself. The container is frozen for some "
            "milliseconds.",
        .arguments = kNameOnly,
        .options = kJsonOnly,
        .examples = {},
        .json = "checkpoint"},
    Command{.id = CommandId::kGenerations,
            .name = "generations",
            .summary = "show the stored generations of a container, newest first",
            .description = "A generation is one complete state of the container: memory, files, "
                           "network identity. FULL is what it "
                           "holds, KEPT what had to be stored for it. In the table the parent of a "
                           "delta is shortened to its "
                           "number where term and incarnation are the same.",
            .arguments = kNameOnly,
            .options = kJsonOnly,
            .examples = kGenerationsExamples,
            .json = "generations"},
    Command{.id = CommandId::kRestore,
            .name = "restore",
            .summary = "take a container back to a generation, in place",
            .description = "Kills the processes that run now and restores the generation's memory "
                           "and files under the same name "
                           "and address. What happened after that generation is lost; what left "
                           "the container since then "
                           "(messages sent, changes in shared volumes or in databases elsewhere) "
                           "is not taken back. Says what "
                           "will be lost and asks.",
            .arguments = kNameOnly,
            .options = kRestoreOptions,
            .examples = kRestoreExamples,
            .json = "restore"},
    Command{.id = CommandId::kExport,
            .name = "export",
            .summary = "write one generation of a container to an archive",
            .description = "The archive holds everything that import needs. It contains the "
                           "container's memory, and so its keys "
                           "and passwords: the file is readable by its owner only. It appears "
                           "under its name when it is complete "
                           "and on disk, not before.",
            .arguments = kExportArguments,
            .options = kExportOptions,
            .examples = kExportExamples,
            .json = "export"},
    Command{.id = CommandId::kImport,
            .name = "import",
            .summary = "make a stopped container from an archive",
            .description = "The archive is verified first. 'perdure restore NAME' then brings the "
                           "container to life "
                           "with its memory, 'perdure start NAME' starts it afresh over its files.",
            .arguments = kImportArguments,
            .options = kImportOptions,
            .examples = {},
            .json = "import"},
    Command{.id = CommandId::kStop,
            .name = "stop",
            .summary = "stop a container; it is not restored",
            .description = "Takes a last generation if the container is protected, sends the stop "
                           "signal, and kills "
                           "what is left at the deadline.",
            .arguments = kNameOnly,
            .options = kStopOptions,
            .examples = {},
            .json = "stop"},
    Command{.id = CommandId::kStart,
            .name = "start",
            .summary = "start a stopped container afresh, over its files",
            .description = "Its memory is not brought back; 'perdure restore NAME' does that. "
                           "Waits until the first "
                           "generation is committed, as run does.",
            .arguments = kNameOnly,
            .options = kYesAndJson,
            .examples = {},
            .json = "start"},
    Command{.id = CommandId::kRemove,
            .name = "rm",
            .summary = "remove a container, its files and its generations",
            .description = "Says what will be gone and asks. Shared volumes and host directories "
                           "of volumes are left "
                           "as they are.",
            .arguments = kNameOnly,
            .options = kRemoveOptions,
            .examples = {},
            .json = "rm"},
    Command{.id = CommandId::kEvents,
            .name = "events",
            .summary = "show what happened: failures, restores, lost and regained protection",
            .description =
                "Oldest first, one per line. The times behind a restore count from the failure.",
            .arguments = kEventsArguments,
            .options = kEventsOptions,
            .examples = kEventsExamples,
            .json = "event"},
    Command{.id = CommandId::kDoctor,
            .name = "doctor",
            .summary = "say what this host can do, what it lacks and what to do about it",
            .description = "Asks perdured; when it does not run, checks what can be checked "
                           "without it and exits with code 3. "
                           "Otherwise exits with code 8 if something is missing without which no "
                           "container can be protected.",
            .arguments = {},
            .options = kJsonOnly,
            .examples = {},
            .json = "doctor"},
    Command{
        .id = CommandId::kVersion,
        .name = "version",
        .summary = "print the versions of this program and of the running perdured",
        .description =
            "Exits with code 3 if perdured cannot be reached; its own version is printed anyway.",
        .arguments = {},
        .options = kJsonOnly,
        .examples = {},
        .json = "version"},
    Command{.id = CommandId::kLab,
            .name = "lab",
            .summary = "try several nodes on this machine, and their failures",
            .description = "Makes nodes out of namespaces: each has its own processes, /run, network and "
                           "disk directory, runs a perdured as a real host would, and hangs on a LAN of "
                           "its own. They can be killed, cut off, paused and booted one by one, and "
                           "nothing is left when the lab is down. The host's network, services and "
                           "containers are not touched. Needs root.\n"
                           "Verbs: up, down, status, kill, boot, pause, resume, cut, heal, shell, exec, "
                           "client, daemon. --name LAB, before or after the verb, selects one of several "
                           "labs.",
            .arguments = kLabArguments,
            .options = {},
            .examples = kLabExamples,
            .json = "",
            .passes_on = true},
    Command{.id = CommandId::kSpec,
            .name = "spec",
            .summary = "print the reference of the specification, or check one",
            .description = "Needs no perdured.",
            .arguments = {},
            .options = kSpecOptions,
            .examples = kSpecExamples,
            .json = ""},
    Command{.id = CommandId::kCompletion,
            .name = "completion",
            .summary = "print a completion script for a shell",
            .description =
                "Names of containers, nodes and generations are asked of perdured while you type.",
            .arguments = kCompletionArguments,
            .options = {},
            .examples = kCompletionExamples,
            .json = ""},
    Command{.id = CommandId::kHelp,
            .name = "help",
            .summary = "explain a command",
            .description = "The same as COMMAND --help.",
            .arguments = kHelpArguments,
            .options = {},
            .examples = {},
            .json = ""},
    Command{.id = CommandId::kComplete,
            .name = "__complete",
            .summary = "names for the completion scripts, one a line; silent on failure",
            .description = "",
            .arguments = kCompleteArguments,
            .options = {},
            .examples = {},
            .json = "",
            .hidden = true},
};

constexpr std::array kGroups{
    CommandGroup{"cluster", "make, join, watch and repair a cluster of nodes"},
    CommandGroup{"node", "look after the nodes of the cluster"},
    CommandGroup{"model", "describe an application by its components"},
    CommandGroup{"image", "bring images to the cluster"},
};

constexpr std::array kEnvironment{
    NamedText{"PERDURE_SOCKET", "The control socket, where --socket does not say otherwise."},
    NamedText{"PERDURE_LIBEXEC",
              "Where perdure-lab and perdure-agent are, instead of where they are installed."},
    NamedText{"PERDURE_CACHE", "Where images are built and kept, instead of /var/cache/perdure; it may be removed at any time."},
    NamedText{"NO_COLOR",
              "If set and not empty, no colours, on a terminal neither (https://no-color.org)."},
    NamedText{"COLUMNS",
              "The width of the output where standard output is no terminal; 80 without it."},
};

constexpr std::array kFiles{
    NamedText{kDefaultSocket, "The control socket of perdured."},
    NamedText{"/var/lib/perdure/containers/NAME", "Specification, files and logs of a container."},
    NamedText{"/var/lib/perdure/capsules/NAME", "Its durable generations."},
};

}  // namespace

std::span<const Command> command_table() {
  static const std::vector<Command> all = [] {
    std::vector<Command> commands(kCommands.begin(), kCommands.end());
    commands.insert(commands.end(), cluster_command_table().begin(), cluster_command_table().end());
    commands.insert(commands.end(), model_command_table().begin(), model_command_table().end());
    return commands;
  }();
  return all;
}

std::span<const CommandSection> command_sections() {
  static const std::array sections{
      CommandSection{"Commands", command_table().first(kCommands.size())},
      CommandSection{"Commands of a cluster", command_table().subspan(kCommands.size(), cluster_command_table().size())},
      CommandSection{"Commands for applications", command_table().last(model_command_table().size())}};
  return sections;
}

std::span<const CommandGroup> command_groups() {
  return kGroups;
}

const Command& command_of(CommandId id) {
  const auto found = std::ranges::find(command_table(), id, &Command::id);
  PERDURE_ASSERT(found != command_table().end());
  return *found;
}

const Command* find_command(std::string_view name) {
  const auto found = std::ranges::find(command_table(), name, &Command::name);
  return found == command_table().end() ? nullptr : &*found;
}

const CommandGroup* find_group(std::string_view name) {
  const auto found = std::ranges::find(kGroups, name, &CommandGroup::name);
  return found == kGroups.end() ? nullptr : &*found;
}

const CommandGroup* group_of(const Command& command) {
  const std::size_t end = command.name.find(' ');
  if (end == std::string_view::npos) return nullptr;
  const CommandGroup* group = find_group(command.name.substr(0, end));
  PERDURE_ASSERT(group != nullptr);
  return group;
}

std::string_view last_word(const Command& command) {
  return command.name.substr(command.name.rfind(' ') + 1);
}

std::span<const Option> global_options() {
  return kGlobalOptions;
}
std::span<const NamedText> environment_table() {
  return kEnvironment;
}
std::span<const NamedText> files_table() {
  return kFiles;
}

}  // namespace perdure::cli
