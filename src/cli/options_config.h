// The flat configuration file: one option a line, as TOML, INI or YAML people write it.
//
//   token-budget = 1024          # a comment
//   attention: lserve
//   stop = "\n\n"                # TOML's escapes; a single-quoted text is literal
//   stop = "END"                 # a repeatable option may come again, no other
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lserve {

struct ConfigEntry {
  std::string key;  // with '-' where the file has '_'
  std::string value;
  int line = 0;  // from 1
};

// kUsage with path and line.
Result<std::vector<ConfigEntry>> parse_config(std::string_view text, const std::string& path);

// The value as parse_config reads it back.
std::string config_value(std::string_view text);

}  // namespace lserve
