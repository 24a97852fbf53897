// The command table: what `perdure` understands, once. The parser, --help, the manual pages,
// docs/cli.md and the shell completions are all made from it, so that none of them can say what the
// others do not.
#pragma once

#include <chrono>
#include <cstddef>
#include <span>
#include <string_view>

namespace perdure::cli {

enum class CommandId {
  kRun,
  kStatus,
  kList,
  kInspect,
  kExplain,
  kLogs,
  kCheckpoint,
  kGenerations,
  kRestore,
  kExport,
  kImport,
  kStop,
  kStart,
  kRemove,
  kEvents,
  kDoctor,
  kVersion,
  kLab,
  kSpec,
  kCompletion,
  kHelp,
  kComplete,  // hidden: names for the shell completions
  // A cluster:
  kClusterInit,
  kClusterJoin,
  kClusterLeave,
  kClusterStatus,
  kClusterToken,
  kClusterRotateKeys,
  kClusterRecover,
  kClusterTiming,
  kNodeList,
  kNodeDrain,
  kNodeCordon,
  kNodeUncordon,
  kNodeRemove,
  kNodeLabel,
  kMove,
  kTakeover,
  // Applications:
  kPlan,
  kDiff,
  kApply,
  kDelete,
  kImageAdd,
  kImageBuild,
  kModelCheck,
  kModelReference,
  kModelSchema,
  kModelConvert,
  kModelDraw,
  kModelProfile,
};

// How a value is checked by the parser and completed by the shell.
enum class ValueKind {
  kFlag,  // no value
  kText,
  kFile,
  kContainer,    // a container's name
  kGeneration,   // "term.incarnation.number"
  kDuration,     // "500ms", "5s"; more than nothing
  kCount,        // 0 to 1000000
  kMoment,       // a duration before now, or an RFC 3339 time
  kShell,        // bash, zsh, fish
  kCommand,      // a command or a group of this table
  kLabVerb,      // what comes after `lab`
  kNode,         // a node's name
  kLabel,        // KEY=VALUE
  kLabelChange,  // KEY=VALUE, or KEY- to take it away
  kTiming,       // default, fast, or HEARTBEAT,GRANT,MARGIN
  kModelForm,    // of kModelForms
  kWrittenForm,  // of kWrittenForms
  kPlanFormat,   // of kPlanFormats
};

struct Option {
  std::string_view name;   // "--tail"
  char letter = 0;         // 'f' for -f; 0: none
  std::string_view value;  // "N"; empty for a flag
  ValueKind kind = ValueKind::kFlag;
  std::string_view help;
  bool repeats = false;  // may be given several times, each with one value
};

struct Argument {
  std::string_view name;  // "NAME"
  ValueKind kind = ValueKind::kText;
  bool required = true;
  std::string_view help;
  bool repeats = false;  // one or more; the last argument only
};
// Of one option or argument; what is larger goes past the limits of a request.
inline constexpr std::size_t kMaxRepeats = 1000;

struct Example {
  std::string_view command;
  std::string_view does;
};

struct Command {
  CommandId id;
  std::string_view name;         // one word, or that of a group and one more: "cluster init"
  std::string_view summary;      // one line, no full stop
  std::string_view description;  // paragraphs, separated by '\n'
  std::span<const Argument> arguments;
  std::span<const Option> options;
  std::span<const Example> examples;
  std::string_view json;  // the name of the JSON shape that --json prints; empty: no --json
  bool hidden = false;
  bool passes_on = false;  // all that follows its name is for another program, also what looks like an option
};

// Commands whose names begin with the same word.
struct CommandGroup {
  std::string_view name;
  std::string_view summary;  // one line, no full stop
};

// What stands together in the help and in the manual.
struct CommandSection {
  std::string_view title;
  std::span<const Command> commands;  // a part of command_table()
};

std::span<const Command> command_table();
std::span<const CommandSection> command_sections();
std::span<const CommandGroup> command_groups();
const Command& command_of(CommandId id);
const Command* find_command(std::string_view name);     // nullptr: there is none
const CommandGroup* find_group(std::string_view name);  // the same
const CommandGroup* group_of(const Command& command);   // nullptr: its name is one word
std::string_view last_word(const Command& command);     // "init" of "cluster init"

// cluster_table.cc: a part of the above.
std::span<const Command> cluster_command_table();
// model_table.cc: the same.
std::span<const Command> model_command_table();

// Understood before and after the command's name.
std::span<const Option> global_options();

struct NamedText {
  std::string_view name;
  std::string_view text;
};
std::span<const NamedText> environment_table();
std::span<const NamedText> files_table();

inline constexpr std::string_view kDefaultSocket = "/run/perdure/perdured.sock";
// The longest silence of perdured that a command waits through, without --timeout. Reading answers
// at once; what changes something may unpack an image or write gigabytes between two signs of life.
inline constexpr std::chrono::seconds kReadSilence{10};
inline constexpr std::chrono::seconds kChangeSilence{300};

// Names that code refers to.
inline constexpr std::string_view kSocketOption = "--socket";
inline constexpr std::string_view kTimeoutOption = "--timeout";
inline constexpr std::string_view kHelpOption = "--help";
inline constexpr std::string_view kVersionOption = "--version";
inline constexpr std::string_view kJsonOption = "--json";
inline constexpr std::string_view kYesOption = "--yes";
inline constexpr std::string_view kGenerationOption = "--generation";
inline constexpr std::string_view kFollowOption = "--follow";
inline constexpr std::string_view kTailOption = "--tail";
inline constexpr std::string_view kSinceOption = "--since";
inline constexpr std::string_view kNameOption = "--name";
inline constexpr std::string_view kForceOption = "--force";
inline constexpr std::string_view kKeepCapsulesOption = "--keep-capsules";
inline constexpr std::string_view kDeadlineOption = "--deadline";
inline constexpr std::string_view kSpecOption = "--spec";
inline constexpr std::string_view kHereOption = "--here";
inline constexpr std::string_view kCheckOption = "--check";
// What `perdure lab` does, in the order of its help; separated by blanks.
inline constexpr std::string_view kLabVerbs =
    "up down status kill boot pause resume cut heal shell exec client daemon";
inline constexpr std::string_view kNameArgument = "NAME";
inline constexpr std::string_view kFileArgument = "FILE";
inline constexpr std::string_view kSpecArgument = "SPEC";
inline constexpr std::string_view kShellArgument = "SHELL";
inline constexpr std::string_view kCommandArgument = "COMMAND";
inline constexpr std::string_view kWhatArgument = "WHAT";
inline constexpr std::string_view kNodeNameOption = "--node-name";
inline constexpr std::string_view kListenOption = "--listen";
inline constexpr std::string_view kLabelOption = "--label";
inline constexpr std::string_view kDurableDirectoryOption = "--durable-directory";
inline constexpr std::string_view kStandbysOption = "--standbys";
inline constexpr std::string_view kEtcdOption = "--etcd";
inline constexpr std::string_view kEtcdAuthorityOption = "--etcd-ca";
inline constexpr std::string_view kEtcdCertificateOption = "--etcd-cert";
inline constexpr std::string_view kEtcdKeyOption = "--etcd-key";
inline constexpr std::string_view kTokenOption = "--token";
inline constexpr std::string_view kTokenFileOption = "--token-file";
inline constexpr std::string_view kWitnessOption = "--witness";
inline constexpr std::string_view kValidForOption = "--valid-for";
inline constexpr std::string_view kUsesOption = "--uses";
inline constexpr std::string_view kApplyOption = "--apply";
inline constexpr std::string_view kForceNewClusterOption = "--force-new-cluster";
inline constexpr std::string_view kFromSnapshotOption = "--from-snapshot";
inline constexpr std::string_view kTimingOption = "--timing";
inline constexpr std::string_view kToOption = "--to";
inline constexpr std::string_view kNodeOption = "--node";
inline constexpr std::string_view kTagOption = "--tag";
inline constexpr std::string_view kSourceArgument = "SOURCE";
inline constexpr std::string_view kFreshOption = "--fresh";
inline constexpr std::string_view kFormatOption = "--format";
// How a plan is written; separated by blanks.
inline constexpr std::string_view kPlanFormats = "text json kubernetes nomad";
inline constexpr std::string_view kApplicationArgument = "APPLICATION";
inline constexpr std::string_view kFromOption = "--from";
inline constexpr std::string_view kProfileOption = "--profile";
inline constexpr std::string_view kEnvFileOption = "--env-file";
inline constexpr std::string_view kOutputOption = "--output";
inline constexpr std::string_view kPlacementOption = "--placement";
// The forms that an application's model is read from, and those that it is written in; separated by blanks.
inline constexpr std::string_view kModelForms = "yaml xmi compose";
inline constexpr std::string_view kWrittenForms = "yaml xmi plantuml";
inline constexpr std::string_view kTimingArgument = "TIMING";
inline constexpr std::string_view kAddressArgument = "ADDRESS";
inline constexpr std::string_view kNodeArgument = "NODE";
inline constexpr std::string_view kLabelArgument = "KEY=VALUE";

}  // namespace perdure::cli
