# protos/ -> C messages (protoc-c) and one descriptor set for reflection, all in the build folder.
find_program(PROTOC protoc REQUIRED)
find_program(PROTOC_GEN_C protoc-gen-c REQUIRED)
find_path(GRPC_PROTO_DIR grpc/reflection/v1/reflection.proto PATHS /usr/share/grpc-proto REQUIRED)
pkg_check_modules(libprotobuf-c REQUIRED IMPORTED_TARGET GLOBAL libprotobuf-c)

set(ours grpc/health/v1/health.proto inference/grpc_service.proto)
foreach(name federation registry classify detect)
  list(APPEND ours bloginfer/v1/${name}.proto)
endforeach()
set(theirs grpc/reflection/v1/reflection.proto grpc/reflection/v1alpha/reflection.proto)

set(out ${CMAKE_BINARY_DIR}/protos)
file(MAKE_DIRECTORY ${out})
set(inputs)
set(sources)
foreach(p ${ours})
  list(APPEND inputs ${CMAKE_SOURCE_DIR}/protos/${p})
endforeach()
foreach(p ${theirs})
  list(APPEND inputs ${GRPC_PROTO_DIR}/${p})
endforeach()
set(headers)
foreach(p ${ours} ${theirs})
  string(REPLACE .proto .pb-c.c c ${p})
  string(REPLACE .proto .pb-c.h h ${p})
  list(APPEND sources ${out}/${c})
  list(APPEND headers ${out}/${h})
endforeach()

add_custom_command(
  OUTPUT ${sources} ${headers} ${out}/all.fds
  COMMAND ${PROTOC} -I ${CMAKE_SOURCE_DIR}/protos -I ${GRPC_PROTO_DIR} --plugin=protoc-gen-c=${PROTOC_GEN_C}
          --c_out=${out} --include_imports --descriptor_set_out=${out}/all.fds ${ours} ${theirs}
  DEPENDS ${inputs} VERBATIM COMMENT "Generating messages from protos/")

bi_embed(descriptors bloginfer_descriptors ${out}/all.fds)

# extern const uint8_t bloginfer_descriptors[], bloginfer_descriptors_end[]: a serialized FileDescriptorSet.
add_library(bloginfer_protos STATIC ${sources} ${headers} ${descriptors})
target_include_directories(bloginfer_protos SYSTEM PUBLIC ${out})
target_link_libraries(bloginfer_protos PUBLIC PkgConfig::libprotobuf-c)
