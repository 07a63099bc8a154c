# How targets are made here, so that a folder's CMakeLists.txt is a few lines.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(bi_flags INTERFACE)
target_compile_options(bi_flags INTERFACE -Wall -Wextra -Wshadow -Wvla -Wpointer-arith -Wstrict-prototypes
                       -Wno-missing-field-initializers)
target_compile_definitions(bi_flags INTERFACE _GNU_SOURCE BLOGINFER_VERSION="${PROJECT_VERSION}")
if(WERROR)
  target_compile_options(bi_flags INTERFACE -Werror)
endif()
if(SANITIZE)
  add_compile_options(-fsanitize=${SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SANITIZE})
endif()
if(FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# bi_library(NAME SOURCES a.c b.c LINK other_lib PKG jansson): a static library, used as #include "folder/x.h".
function(bi_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LINK;PKG" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PRIVATE bi_flags PUBLIC ${A_LINK} Threads::Threads m)
  foreach(pkg ${A_PKG})
    if(NOT TARGET PkgConfig::${pkg})
      pkg_check_modules(${pkg} REQUIRED IMPORTED_TARGET GLOBAL ${pkg})
    endif()
    target_link_libraries(${name} PUBLIC PkgConfig::${pkg})
  endforeach()
endfunction()

# bi_embed(VAR name file): sets VAR to a source that holds the file's bytes, for
# extern const char name[], name_end[];
function(bi_embed var name file)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name}.S)
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${file} -DOUT=${out} -DNAME=${name} -P ${CMAKE_SOURCE_DIR}/cmake/Embed.cmake
    DEPENDS ${file} ${CMAKE_SOURCE_DIR}/cmake/Embed.cmake VERBATIM)
  set_source_files_properties(${out} PROPERTIES OBJECT_DEPENDS ${file})
  set(${var} ${out} PARENT_SCOPE)
endfunction()

# bi_program(bloginfer-x CORE): main.c of the current folder over its library CORE.
function(bi_program name core)
  add_executable(${name} main.c)
  target_link_libraries(${name} PRIVATE bi_flags ${core})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# bi_test(round aggregator_core ...): round_test.c of the current folder, linked with these libraries, as a ctest.
# Tests run in the build folder and may use BLOGINFER_SOURCE_DIR.
function(bi_test name)
  if(NOT TARGET PkgConfig::cmocka)
    pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET GLOBAL cmocka)
  endif()
  add_executable(${name}_test ${name}_test.c)
  target_link_libraries(${name}_test PRIVATE bi_flags ${ARGN} PkgConfig::cmocka)
  target_compile_definitions(${name}_test PRIVATE BLOGINFER_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name}_test)
  set_tests_properties(${name} PROPERTIES TIMEOUT 300
    ENVIRONMENT "OPENBLAS_NUM_THREADS=1;OMP_NUM_THREADS=1;LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/lsan.supp;TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp:halt_on_error=1:ignore_noninstrumented_modules=1")
endfunction()

# bi_fuzz(image detector_core): image_fuzz.c, a libFuzzer target, when FUZZ is on (clang).
function(bi_fuzz name)
  if(FUZZ)
    add_executable(${name}_fuzz ${name}_fuzz.c)
    target_link_libraries(${name}_fuzz PRIVATE bi_flags ${ARGN})
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()
