// SPDX-License-Identifier: Apache-2.0
// Reading YAML strictly: every mapping says which keys it knows, every value which form it has, and
// every complaint names file, line, key path, value and what was expected. yaml-cpp throws; nothing
// of that leaves this file and its source.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"

namespace gantry::core {

// A node with the path that leads to it. Copies are cheap.
class Yaml {
 public:
  static base::Result<Yaml> Parse(const std::string& text, const std::string& file_name);

  // INVALID_ARGUMENT "file:line: path: found: expected ...".
  tl::unexpected<base::Error> Complain(const std::string& expected) const;

  // "file:line: path", for errors that others word.
  std::string Where() const;

  bool IsPresent() const { return node_.IsDefined() && !node_.IsNull(); }
  // The child of a mapping; not present when missing.
  Yaml operator[](const std::string& key) const;

  // A mapping with no other keys than these.
  base::Status KeysAre(const std::vector<std::string>& known) const;
  base::Result<std::vector<std::pair<std::string, Yaml>>> Entries() const;
  base::Result<std::vector<Yaml>> Items() const;

  base::Result<std::string> Text() const;
  base::Result<std::string> TextOr(const std::string& fallback) const;
  base::Result<uint64_t> Number(uint64_t min, uint64_t max) const;
  base::Result<bool> BoolOr(bool fallback) const;
  base::Result<std::vector<std::string>> Texts() const;  // a sequence of strings; missing: empty
  base::Result<std::map<std::string, std::string>> TextMap() const;
  // The whole subtree as JSON; missing: "{}". Plain scalars keep their YAML type.
  base::Result<std::string> Json() const;

 private:
  Yaml(YAML::Node node, std::string path, std::string file, int line)
      : node_(std::move(node)), path_(std::move(path)), file_(std::move(file)), line_(line) {}
  Yaml Child(YAML::Node node, const std::string& step) const;
  std::string Found() const;

  YAML::Node node_;
  std::string path_;
  std::string file_;
  int line_ = 0;  // of the parent where the node is missing
};

}  // namespace gantry::core
