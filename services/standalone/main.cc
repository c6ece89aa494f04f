// posthouse-standalone: the whole mail system in one process.
#include "services/common/runtime/runtime.h"
#include "services/standalone/app.h"

int main(int argc, char** argv) {
  using posthouse::runtime::Runtime;
  return posthouse::runtime::Main(
      argc, argv, "standalone",
      [](Runtime& rt) -> absl::StatusOr<std::unique_ptr<posthouse::runtime::App>> {
        return posthouse::standalone::App::Create(rt);
      },
      posthouse::standalone::App::CheckConfig);
}
