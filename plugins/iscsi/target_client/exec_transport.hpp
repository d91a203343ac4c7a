// SPDX-License-Identifier: Apache-2.0
// gantry-target or gantry-initiator on this machine: run by the host for each request
// (gantry.exec/1), with the request on its stdin. The grant names the program and its one word, and
// that it runs as root:
//
//   helpers:
//     target: {program: /usr/sbin/gantry-target, arguments: [[/etc/gantry/target.json]], uid: 0}
//     initiator: {program: /usr/sbin/gantry-initiator, arguments: [[/proc/self]], uid: 0}
#pragma once

#include <gantry/gantry.hpp>
#include <string>

#include "plugins/iscsi/target_client/transport.hpp"

namespace gantry::iscsi::target_client {

class ExecTransport final : public Transport {
 public:
  // `helper` is the grant's name; `program` is for messages. The api lives as long as the process.
  ExecTransport(const gantry_exec_api& api, std::string helper, std::string word,
                std::string program = "gantry-target")
      : api_(api),
        helper_(std::move(helper)),
        word_(std::move(word)),
        program_(std::move(program)) {}

  plugin::Result<std::string> Exchange(const std::string& line, const Asked& asked) override;

 private:
  const gantry_exec_api& api_;
  const std::string helper_;
  const std::string word_;
  const std::string program_;
};

}  // namespace gantry::iscsi::target_client
