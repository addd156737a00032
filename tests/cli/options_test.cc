#include "cli/options.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/strings.h"

namespace lserve {
namespace {

using Words = std::vector<std::string>;
using Variables = std::map<std::string, std::string>;

Result<CommandLine> parse(const Words& words, const Variables& variables = {}) {
  return CommandLine::parse(words, [&variables](const std::string& name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

CommandLine must_parse(const Words& words, const Variables& variables = {}) {
  Result<CommandLine> line = parse(words, variables);
  if (!line.ok()) {
    ADD_FAILURE() << line.status().message();
    return parse({"--help"}).value();
  }
  return std::move(line).value();
}

std::string error_of(const Words& words, const Variables& variables = {}) {
  const Result<CommandLine> line = parse(words, variables);
  if (line.ok()) return "(accepted)";
  EXPECT_EQ(line.status().message().find('\n'), std::string::npos);
  return line.status().message();
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string write_file(const std::string& name, const std::string& text) {
  const std::string path = (std::filesystem::path(testing::TempDir()) / name).string();
  std::ofstream(path) << text;
  return path;
}

TEST(Options, DefaultsAreTheDocumentedOnes) {
  const CommandLine line = must_parse({"run", "m"});
  EXPECT_EQ(line.verb(), Verb::kRun);
  EXPECT_EQ(line.get_int("sink-tokens"), 128);
  EXPECT_EQ(line.get_int("local-tokens"), 256);
  EXPECT_EQ(line.get_int("token-budget"), 4096);
  EXPECT_EQ(line.get_int("logical-page-size"), 16);
  EXPECT_EQ(line.get_int("reuse-interval"), 4);
  EXPECT_EQ(line.get_number("streaming-fraction"), 0.5);
  EXPECT_EQ(line.get_text("page-score"), "minmax");
  EXPECT_EQ(line.get_text("key-stats-dtype"), "bf16");
  EXPECT_EQ(line.get_text("selector-group"), "max");
  EXPECT_EQ(line.get_text("kv-cache-dtype"), "auto");
  EXPECT_EQ(line.get_text("attention"), "auto");
  EXPECT_EQ(line.get_int("max-tokens"), 0);
  EXPECT_EQ(line.get_int("max-model-len"), 0);
  EXPECT_FALSE(line.is_set("prompt"));
  EXPECT_FALSE(line.get_flag("json"));
  EXPECT_TRUE(line.get_texts("stop").empty());
  EXPECT_EQ(line.source("seed"), OptionSource::kBuiltIn);
}

TEST(Options, EveryDefaultIsAValidValue) {
  for (const VerbSpec& verb : verb_table()) {
    Words words;
    const std::string text(verb.words);
    const size_t space = text.find(' ');
    words.push_back(text.substr(0, space));
    if (space != std::string::npos) words.push_back(text.substr(space + 1));
    words.push_back(verb.verb == Verb::kBenchKernel ? "linear" : "m");
    for (const OptionSpec& option : option_table()) {
      const bool mine = (option.verbs & verb_bit(verb.verb)) != 0;
      if (!mine || option.default_text.empty()) continue;
      words.push_back(cat("--", option.name, "=", option.default_text));
    }
    EXPECT_EQ(error_of(words), "(accepted)") << text;
  }
}

TEST(Options, NamesAreUniqueWithinAVerb) {
  for (const VerbSpec& verb : verb_table()) {
    std::set<std::string_view> seen;
    for (const OptionSpec& option : option_table()) {
      if ((option.verbs & verb_bit(verb.verb)) == 0) continue;
      EXPECT_TRUE(seen.insert(option.name).second) << verb.words << " --" << option.name;
      for (const std::string_view other : {option.short_name, option.alias}) {
        if (other.empty()) continue;
        EXPECT_TRUE(seen.insert(other).second) << verb.words << " " << other;
      }
    }
  }
}

TEST(Options, BeforeAndAfterPositionals) {
  for (const Words& words : {Words{"run", "-n", "5", "m", "hi"}, Words{"run", "m", "-n", "5", "hi"},
                             Words{"run", "m", "hi", "-n5"}, Words{"run", "m", "hi", "-n=5"},
                             Words{"run", "--max-tokens=5", "m", "--", "hi"},
                             Words{"run", "-m", "m", "hi", "--n-predict", "5"},
                             Words{"run", "-m", "m", "-p", "hi", "--max-tokens", "5"}}) {
    const CommandLine line = must_parse(words);
    EXPECT_EQ(line.get_text("model"), "m");
    EXPECT_EQ(line.get_text("prompt"), "hi");
    EXPECT_EQ(line.get_int("max-tokens"), 5);
  }
}

TEST(Options, SizesTakeUnits) {
  EXPECT_EQ(must_parse({"run", "m", "-c", "32k"}).get_int("max-model-len"), 32768);
  EXPECT_EQ(must_parse({"info", "m", "--ctx-size=1M"}).get_int("max-model-len"), 1048576);
  const CommandLine bench = must_parse({"bench", "latency", "m", "-p", "2k,100", "-n", "8"});
  EXPECT_EQ(bench.get_ints("prompt-tokens"), (std::vector<int64_t>{2048, 100}));
  EXPECT_EQ(bench.get_int("decode-tokens"), 8);
}

TEST(Options, BytesTakeUnitsOfBothKinds) {
  const auto bytes = [](const std::string& size) {
    return must_parse({"run", "m", "--kv-cache-memory", size}).get_int("kv-cache-memory");
  };
  EXPECT_EQ(bytes("8GiB"), int64_t{8} << 30);
  EXPECT_EQ(bytes("1.5MiB"), 3 << 19);
  EXPECT_EQ(bytes("2GB"), 2'000'000'000);
  EXPECT_EQ(bytes("64k"), 65536);
  EXPECT_EQ(bytes("4096"), 4096);
  EXPECT_EQ(bytes("auto"), 0);
  EXPECT_TRUE(has(error_of({"run", "m", "--kv-cache-memory", "0"}), "at least 1"));
  EXPECT_TRUE(has(error_of({"run", "m", "--kv-cache-memory", "much"}), "\"much\" is not a size"));
  EXPECT_TRUE(has(error_of({"run", "m", "--kv-cache-memory", "-1GiB"}), "at least 1"));
}

TEST(Options, AShareOfTheGpuIsAboveNoneAndAtMostAll) {
  const auto error = [](const char* share) {
    return error_of({"info", "m", "--gpu-memory-utilization", share});
  };
  EXPECT_EQ(must_parse({"run", "m"}).get_number("gpu-memory-utilization"), 0.9);
  EXPECT_EQ(error("1"), "(accepted)");
  EXPECT_EQ(error("0.001"), "(accepted)");
  EXPECT_TRUE(has(error("0"), "must be above 0"));
  EXPECT_TRUE(has(error("-0.5"), "at least 0"));
  EXPECT_TRUE(has(error("1.01"), "at most 1"));
  EXPECT_TRUE(has(error("90%"), "is not a number"));
}

TEST(Options, TheSameNameMayDifferByVerb) {
  EXPECT_EQ(
      must_parse({"bench", "latency", "m", "--attention", "dense,lserve"}).get_texts("attention"),
      (Words{"dense", "lserve"}));
  EXPECT_TRUE(has(error_of({"run", "m", "--attention", "dense,lserve"}), "is not one of"));
  EXPECT_TRUE(has(error_of({"bench", "kernel", "linaer"}), "OP: \"linaer\" is not one of"));
  EXPECT_TRUE(has(error_of({"bench", "latency", "m", "--attention", "dense,"}), "is not one of"));
  EXPECT_EQ(must_parse({"eval", "perplexity", "m", "-f", "t"}).get_int("decode-tokens"), 0);
}

TEST(Options, LastWinsUnlessRepeatable) {
  const CommandLine line =
      must_parse({"run", "m", "--seed", "1", "--seed", "2", "--stop", "a", "--stop=b"});
  EXPECT_EQ(line.get_int("seed"), 2);
  EXPECT_EQ(line.get_texts("stop"), (Words{"a", "b"}));
}

TEST(Options, ValuesThatBeginWithADash) {
  EXPECT_EQ(must_parse({"run", "m", "-f", "-"}).get_text("file"), "-");
  EXPECT_EQ(must_parse({"run", "m", "-p", "- a list"}).get_text("prompt"), "- a list");
  EXPECT_EQ(must_parse({"run", "m", "-5"}).get_text("prompt"), "-5");
  EXPECT_EQ(must_parse({"run", "m", "--stop=--"}).get_texts("stop"), Words{"--"});
  EXPECT_EQ(must_parse({"run", "m", "--", "--json"}).get_text("prompt"), "--json");
  EXPECT_TRUE(has(error_of({"run", "m", "--seed", "-1"}), "--seed: -1 is out of range"));
  EXPECT_EQ(must_parse({"run", "m", "--system", ""}).get_text("system"), "");
}

TEST(Options, MissingValues) {
  EXPECT_TRUE(has(error_of({"run", "m", "--seed"}), "--seed: the value N is missing"));
  EXPECT_TRUE(has(error_of({"run", "m", "--stop", "--json"}), "if meant: --stop=--json"));
  EXPECT_TRUE(has(error_of({"run", "m", "--stop", "--seed=3"}), "is missing"));
  EXPECT_TRUE(has(error_of({"run", "m", "--stop", "--", "x"}), "is missing"));
  EXPECT_TRUE(has(error_of({"run", "m", "--seed="}), "is not a whole number"));
}

TEST(Options, UnknownOptionsAreExplained) {
  EXPECT_TRUE(has(error_of({"run", "m", "--atention", "dense"}), "did you mean --attention?"));
  EXPECT_TRUE(has(error_of({"run", "m", "-temp", "1"}), "did you mean --temp?"));
  EXPECT_TRUE(
      has(error_of({"run", "m", "--repetitions", "2"}), "but of: bench kernel, bench latency"));
  EXPECT_TRUE(has(error_of({"run", "m", "-r", "2"}), "but of: bench kernel, bench latency"));
  EXPECT_TRUE(has(error_of({"run", "m", "---n", "2"}), "unknown option"));
  EXPECT_TRUE(has(error_of({"run", "m", "--n", "2"}), "unknown option"));
  EXPECT_TRUE(has(error_of({"run", "m", "--", "a", "b"}), "unexpected argument \"b\""));
  EXPECT_TRUE(has(error_of({"info", "m", "b"}), "unexpected argument \"b\""));
  EXPECT_TRUE(has(error_of({"run", "m", "x", "-p", "y"}), "unexpected argument \"x\""));
}

TEST(Options, Verbs) {
  EXPECT_EQ(must_parse({}).help(), HelpKind::kCommon);
  EXPECT_TRUE(has(error_of({"rum", "m"}), "did you mean run?"));
  EXPECT_TRUE(has(error_of({"eval"}), "did you mean eval perplexity?"));
  EXPECT_TRUE(has(error_of({"bench", "latancy"}), "did you mean bench latency?"));
  EXPECT_TRUE(has(error_of({"bench", "speed"}), "did you mean bench latency or bench kernel?"));
  EXPECT_TRUE(has(error_of({"bench", "kernel"}), "OP is missing: all, or some of embed"));
  EXPECT_TRUE(has(error_of({"a/b.gguf"}), "did you mean run a/b.gguf?"));
  EXPECT_TRUE(has(error_of({"--json", "run", "m"}), "the command comes before"));
  EXPECT_TRUE(has(error_of({"run"}), "MODEL is missing"));
  EXPECT_TRUE(has(error_of({"zzzzzzzz"}), "lserve --help lists them"));
}

TEST(Options, ValuesAreChecked) {
  EXPECT_TRUE(has(error_of({"run", "m", "--top-p", "0"}), "must be above 0"));
  EXPECT_TRUE(has(error_of({"run", "m", "--top-p", "1.5"}), "at most 1"));
  EXPECT_TRUE(has(error_of({"run", "m", "--top-p", "nan"}), "is not a number"));
  EXPECT_TRUE(has(error_of({"run", "m", "--temp", "hot"}), "is not a number"));
  EXPECT_TRUE(has(error_of({"run", "m", "-t", "0"}), "at least 1"));
  EXPECT_TRUE(has(error_of({"run", "m", "-n", "99999999999999999999"}), "is not a size"));
  EXPECT_TRUE(has(error_of({"run", "m", "--attention", "lserv"}), "did you mean lserve?"));
  EXPECT_TRUE(has(error_of({"run", "m", "--json=maybe"}), "neither true nor false"));
  EXPECT_TRUE(
      has(error_of({"run", "m", "--page-score", "median"}), "is not one of: minmax, mean-std"));
  EXPECT_TRUE(
      has(error_of({"run", "m", "--key-stats-dtype", "int4"}), "is not one of: bf16, int8"));
}

TEST(Options, UnknownDeviceIsAUsageError) {
  EXPECT_TRUE(parse({"run", "m", "--device", "cuda"}).ok());
  EXPECT_EQ(parse({"run", "m", "--device", "cpx"}).status().kind(), ErrorKind::kUsage);
}

TEST(Options, PrecedenceOfTheFiveSources) {
  const std::string file = write_file("precedence.toml", "top-p = 0.3\ntop_k: 3\nmin-p = 0.3\n");
  CommandLine line = must_parse({"run", "m", "--config", file, "--top-p", "0.5"},
                                {{"LSERVE_TOP_P", "0.4"}, {"LSERVE_TOP_K", "4"}});
  for (const char* name : {"top-p", "min-p", "temperature"}) {
    EXPECT_TRUE(line.set_model_default(name, "0.2", "generation_config.json").ok());
  }
  EXPECT_TRUE(line.set_model_default("top-k", "2", "generation_config.json").ok());
  EXPECT_EQ(line.get_number("top-p"), 0.5);
  EXPECT_EQ(line.source("top-p"), OptionSource::kCommandLine);
  EXPECT_EQ(line.get_int("top-k"), 4);
  EXPECT_EQ(line.source("top-k"), OptionSource::kEnvironment);
  EXPECT_EQ(line.get_number("min-p"), 0.3);
  EXPECT_EQ(line.source("min-p"), OptionSource::kConfigFile);
  EXPECT_EQ(line.get_number("temperature"), 0.2);
  EXPECT_EQ(line.source("temperature"), OptionSource::kModel);
  EXPECT_EQ(line.source("seed"), OptionSource::kBuiltIn);
}

TEST(Options, ModelDefaultsAreChecked) {
  CommandLine line = must_parse({"run", "m"});
  const Status status = line.set_model_default("temperature", "-1", "generation_config.json");
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(has(status.message(), "generation_config.json: temperature: -1 is out of range"));
}

TEST(Options, EnvironmentReachesEveryOption) {
  EXPECT_TRUE(must_parse({"run"}, {{"LSERVE_MODEL", "m"}, {"LSERVE_JSON", "1"}}).get_flag("json"));
  EXPECT_FALSE(must_parse({"run", "m"}, {{"LSERVE_JSON", "off"}}).get_flag("json"));
  EXPECT_FALSE(must_parse({"run", "m", "--json=false"}, {{"LSERVE_JSON", "1"}}).get_flag("json"));
  // Empty counts as not set; another verb's variable and questions are not read.
  EXPECT_FALSE(must_parse({"run", "m"}, {{"LSERVE_SEED", ""}}).is_set("seed"));
  must_parse({"run", "m"}, {{"LSERVE_REPETITIONS", "x"}, {"LSERVE_VERSION", "0.1"}});
  EXPECT_TRUE(has(error_of({"run", "m"}, {{"LSERVE_TOP_P", "7"}}), "LSERVE_TOP_P: 7 is out of"));
  // What the command line replaces is not checked.
  must_parse({"run", "m", "--device", "cpu"}, {{"LSERVE_DEVICE", "cuda"}});
}

TEST(Options, OneArgumentWhereTheEnvironmentNamesTheModel) {
  const Variables model = {{"LSERVE_MODEL", "/no/such/model"}};
  CommandLine line = must_parse({"run", "Why?"}, model);
  EXPECT_EQ(line.get_text("model"), "/no/such/model");
  EXPECT_EQ(line.get_text("prompt"), "Why?");
  // A model that is there, or is named as one, and a second argument mean what they always do.
  for (const std::string& path : {testing::TempDir(), std::string("none.gguf")}) {
    line = must_parse({"run", path}, model);
    EXPECT_EQ(line.get_text("model"), path);
    EXPECT_FALSE(line.is_set("prompt"));
  }
  line = must_parse({"run", "m", "Why?"}, model);
  EXPECT_EQ(line.get_text("model"), "m");
  EXPECT_EQ(line.get_text("prompt"), "Why?");
  line = must_parse({"run", "-p", "Why?", "m"}, model);
  EXPECT_EQ(line.get_text("model"), "m");
  EXPECT_EQ(must_parse({"info", "m"}, model).get_text("model"), "m");
  EXPECT_TRUE(has(error_of({"run", "-m", "m", "-p", "a", "b"}, model), "unexpected argument"));
  // A configuration file names it as well.
  const std::string file = write_file("model.toml", "model = \"/no/such/model\"\n");
  EXPECT_EQ(must_parse({"run", "Why?", "--config", file}).get_text("prompt"), "Why?");
  EXPECT_EQ(must_parse({"run", "Why?"}).get_text("model"), "Why?");
}

TEST(Options, EmptyTextsAreNoValues) {
  for (const char* name : {"--stop", "--kv-save", "--kv-load"}) {
    EXPECT_TRUE(has(error_of({"run", "m", name, ""}), "the value is empty")) << name;
  }
}

TEST(Options, ConfigFile) {
  const std::string good =
      write_file("good.toml",
                 "# comment\n---\nattention: lserve\n stop = \"a\\n\" # newline\nstop='b\\n'\n"
                 "json = true\r\nsystem = be # brief\nrepetitions = 3\n\nfile = a#b");
  const CommandLine line = must_parse({"run", "m"}, {{"LSERVE_CONFIG", good}});
  EXPECT_EQ(line.get_text("attention"), "lserve");
  EXPECT_EQ(line.get_texts("stop"), (Words{"a\n", "b\\n"}));
  EXPECT_TRUE(line.get_flag("json"));
  EXPECT_EQ(line.get_text("system"), "be");
  EXPECT_EQ(line.get_text("file"), "a#b");
  EXPECT_EQ(must_parse({"run", "m", "--stop", "c", "--config", good}).get_texts("stop"),
            Words{"c"});

  const auto error_in = [](const std::string& text) {
    return error_of({"run", "m", "--config", write_file("bad.toml", text)});
  };
  EXPECT_TRUE(has(error_in("\nseeed = 1\n"), "bad.toml:2: unknown option \"seeed\"; did you mean"));
  EXPECT_TRUE(has(error_in("seed = 1\nseed = 2"), "bad.toml:2: seed was set in line 1"));
  EXPECT_TRUE(has(error_in("seed = x"), "bad.toml:1: seed: \"x\" is not a whole number"));
  EXPECT_TRUE(has(error_in("[run]\n"), "sections are not supported"));
  EXPECT_TRUE(has(error_in("stop = [\"a\"]"), "arrays are not supported"));
  EXPECT_TRUE(has(error_in("seed"), "not of the form"));
  EXPECT_TRUE(has(error_in("= 3"), "not of the form"));
  EXPECT_TRUE(has(error_in("stop = \"a"), "closing \" is missing"));
  EXPECT_TRUE(has(error_in("stop = \"a\" b"), "unexpected text after"));
  EXPECT_TRUE(has(error_in("stop = \"\\x\""), "unknown escape"));
  EXPECT_TRUE(has(error_in("config = other"), "cannot be set in a file"));
  EXPECT_TRUE(has(error_in("help = true"), "cannot be set in a file"));
  EXPECT_TRUE(has(error_of({"run", "m", "--config", "/no/such/file"}), "/no/such/file"));
}

TEST(Options, DumpConfigReadsBackTheSame) {
  const CommandLine line = must_parse(
      {"run", "m", "a \"quoted\" # prompt\n\\", "--stop", "\n\n", "--stop", "x", "--temp", "0.25"},
      {{"LSERVE_SEED", "7"}});
  const std::string dump = line.dump_config();
  EXPECT_TRUE(has(dump, "seed = 7  # environment (LSERVE_SEED)\n")) << dump;
  EXPECT_TRUE(has(dump, "temperature = 0.25  # command line (--temp)\n")) << dump;
  EXPECT_TRUE(has(dump, "token-budget = 4096  # built-in\n")) << dump;
  EXPECT_TRUE(has(dump, "# system is not set\n")) << dump;
  EXPECT_FALSE(has(dump, "help"));
  const CommandLine again = must_parse({"run", "--config", write_file("dump.toml", dump)});
  for (const OptionSpec& option : option_table()) {
    if (find_option(Verb::kRun, option.name) != &option || option.name == "config") continue;
    if (option.repeatable) {
      EXPECT_EQ(again.get_texts(option.name), line.get_texts(option.name)) << option.name;
    } else if (option.type != OptionType::kFlag) {
      EXPECT_EQ(again.get_text(option.name), line.get_text(option.name)) << option.name;
    }
  }
}

TEST(Options, HelpAndVersionWinOverErrors) {
  EXPECT_EQ(must_parse({"--help"}).help(), HelpKind::kCommon);
  EXPECT_TRUE(must_parse({"--version"}).version());
  EXPECT_EQ(must_parse({"run", "--bogus", "-h"}).help(), HelpKind::kCommon);
  EXPECT_EQ(must_parse({"run", "--help-all", "--help"}).help(), HelpKind::kAll);
  EXPECT_EQ(must_parse({"eval", "perplexity", "--help"}).verb(), Verb::kEvalPerplexity);
  EXPECT_EQ(must_parse({"eval", "--help"}).verb(), Verb::kNone);
  EXPECT_EQ(must_parse({"run", "m", "--", "--help"}).help(), HelpKind::kNone);
}

// Which reads no GGUF file, and writes no plain floats.
TEST(Options, QuantizeSaysWhatItTakes) {
  const std::string help = help_text(Verb::kQuantize, HelpKind::kCommon);
  EXPECT_TRUE(has(help, "\nMODEL: Hugging Face directory of float weights\n"));
  EXPECT_FALSE(has(help, "bf16"));
  EXPECT_TRUE(
      has(help_text(Verb::kRun, HelpKind::kCommon), "\nMODEL: Hugging Face directory or .gg"));
  const std::string missing = error_of({"quantize", "-o", "d"});
  EXPECT_TRUE(has(missing, "MODEL is missing: a Hugging Face directory")) << missing;
  EXPECT_FALSE(has(missing, "gguf")) << missing;
  EXPECT_TRUE(has(error_of({"info"}), "MODEL is missing: a Hugging Face directory or .gguf file"));
  EXPECT_EQ(error_of({"quantize", "m", "--weights", "bf16"}),
            "--weights: \"bf16\" is not one of: auto, w8a8, fp8, w4a8, w4a16");
  EXPECT_EQ(error_of({"quantize", "m", "--weights", "w4a8", "--head-weights", "bf16"}),
            "--head-weights: \"bf16\" is not one of: auto, w8a8, fp8");
  for (const char* format : {"auto", "w8a8", "fp8", "w4a8", "w4a16"}) {
    const CommandLine line = must_parse({"quantize", "m", "--weights", format});
    EXPECT_EQ(line.get_text("weights"), format);
  }
  EXPECT_EQ(must_parse({"run", "m", "--weights", "bf16"}).get_text("weights"), "bf16");
}

TEST(Options, HelpNamesEveryOption) {
  for (const VerbSpec& verb : verb_table()) {
    const std::string all = help_text(verb.verb, HelpKind::kAll);
    const std::string common = help_text(verb.verb, HelpKind::kCommon);
    for (const OptionSpec& option : option_table()) {
      if ((option.verbs & verb_bit(verb.verb)) == 0) continue;
      EXPECT_TRUE(has(all, cat("--", option.name))) << option.name;
      EXPECT_NE(has(all, environment_name(option)), option.command_line_only) << option.name;
    }
    EXPECT_LT(common.size(), all.size());
    for (size_t begin = 0; begin < all.size();) {
      const size_t end = all.find('\n', begin);
      EXPECT_LE(end - begin, 100U) << all.substr(begin, end - begin);
      begin = end + 1;
    }
  }
  EXPECT_TRUE(has(help_text(Verb::kNone, HelpKind::kCommon), "eval perplexity MODEL"));
}

}  // namespace
}  // namespace lserve
