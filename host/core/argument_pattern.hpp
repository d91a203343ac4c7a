// SPDX-License-Identifier: Apache-2.0
// One word of grants.helpers.<name>.arguments: what a plugin may say there to a helper program.
// Fixed text, or fixed text that ends in a class:
//
//   create, -F, --json           exactly that
//   {number}, --size={number}    0 to 2^63-1 in decimal; {number:1-64}: within these bounds
//   {name}                       letters, digits and ._- ; begins with a letter or digit; <= 128
//   {identifier}                 as a name, with : too and <= 223: IQNs, UUIDs, WWNs (RFC 3720)
//   {path:/var/lib/x}            an absolute path beneath that directory, without . .. or //
//
// No class matches a word that begins with '-', is empty, or holds a blank, a comma, a slash (but
// in a path) or a control character: a value can't become an option, a list or a way out.
// Rejected: fnmatch(3), with which "*" matches "--config=/etc/shadow", and regular expressions,
// whose anchors and alternatives are as easily got wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "host/base/error.hpp"

namespace gantry::core {

class ArgumentPattern {
 public:
  // INVALID_ARGUMENT quotes the word and says what is allowed; so for a word with * or ? too, which
  // is meant as a pattern of a shell.
  static base::Result<ArgumentPattern> Parse(std::string_view text);

  // By the characters alone. Whether a path leads through a symlink only the file system knows.
  bool Matches(std::string_view word) const;

  // The directory of a {path:...}; empty for the others.
  const std::string& directory() const { return directory_; }
  // What a {path:...} would name there: the word without the fixed text and the directory.
  std::string_view BelowDirectory(std::string_view word) const {
    return word.substr(text_.size() + directory_.size() + 1);
  }

 private:
  enum class Class { kFixed, kNumber, kName, kIdentifier, kPath };
  std::string text_;  // fixed, or before the class
  Class class_ = Class::kFixed;
  uint64_t min_ = 0;
  uint64_t max_ = 0;
  std::string directory_;
};

}  // namespace gantry::core
