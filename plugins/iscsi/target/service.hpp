// SPDX-License-Identifier: Apache-2.0
// A request's line in, a reply's line out.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "plugins/iscsi/target/context.hpp"

namespace gantry::iscsi::target {

class Service {
 public:
  // `program` is the version that Describe tells. Step: store.hpp.
  static plugin::Result<std::unique_ptr<Service>> Open(
      Config config, std::string program, Step step = [](const char*) {});

  // Without newlines. Blocks until it is done, at most until the request's deadline and a moment.
  // One thread at a time; any number of processes.
  std::string Answer(std::string_view line);

 private:
  Service(Config config, std::string program, Store store);
  Context MakeContext();
  template <class Request>
  std::string Serve(const Call& call, const Request& request);

  const Config config_;
  const std::string program_;
  const Store store_;
  const std::unique_ptr<TargetKind> kind_;
};

std::unique_ptr<TargetKind> MakeKind(const Config& config);

}  // namespace gantry::iscsi::target
