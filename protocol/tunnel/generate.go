package tunnel

//go:generate sh -c "protoc --plugin=protoc-gen-go=$(go tool -n protoc-gen-go) --go_out=tunnelpb --go_opt=paths=source_relative -I tunnelpb tunnel.proto"
