package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sluicedb/sluice/control/api/apiclient"
)

// defaultAPIURL is where `sluice server` listens by default.
const defaultAPIURL = "https://localhost:8443"

// clientFlags say which server a command talks to.
type clientFlags struct {
	url       string
	tokenFile string
	caFile    string
	account   string
}

// savedContext is what `sluice login` keeps in the context file, mode 0600.
type savedContext struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	Account string `json:"account"`
	// CAFile is the absolute path of the copy of the CA certificate beside the context file; empty when the system's suffice.
	CAFile string `json:"ca_file,omitempty"`
}

// clientCommand adds the flags of a command, and of those below it, that talks to a server's API.
func (a *app) clientCommand(cmd *cobra.Command) *cobra.Command {
	flags := cmd.PersistentFlags()
	flags.StringVar(&a.client.url, "api-url", "", "URL of the server's API, else the one of 'sluice login', else "+defaultAPIURL)
	withEnv(flags, "api-url", "SLUICE_API_URL")
	flags.StringVar(&a.client.tokenFile, "api-token-file", "", "file with the API token; else SLUICE_API_TOKEN, else the one of 'sluice login'")
	withEnv(flags, "api-token-file", "SLUICE_API_TOKEN_FILE")
	flags.StringVar(&a.client.caFile, "ca-file", "", "PEM file with the CA of the server's certificate")
	withEnv(flags, "ca-file", "SLUICE_CA_FILE")
	flags.StringVar(&a.client.account, "account", "", "account id, else the first that the token may see")
	withEnv(flags, "account", "SLUICE_ACCOUNT_ID")
	flags.BoolVar(&a.json, "json", false, "print JSON for programs instead of text for people")
	return cmd
}

// withClient runs a command's work with a client of the server that flags, environment and context file name, in this order.
func (a *app) withClient(work func(ctx context.Context, client *apiclient.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		target, err := a.target()
		if err != nil {
			return err
		}
		if target.Token == "" {
			return errors.New("no API token: run 'sluice login', or set SLUICE_API_TOKEN or SLUICE_API_TOKEN_FILE")
		}
		client, err := newClient(target)
		if err != nil {
			return err
		}
		defer client.Close()
		return work(cmd.Context(), client, args)
	}
}

// target merges flags, environment and context file. A saved token is not sent to another URL than the one it was saved for.
func (a *app) target() (savedContext, error) {
	saved, err := a.loadContext()
	if err != nil {
		return savedContext{}, err
	}
	target := saved
	if a.client.url != "" && a.client.url != saved.URL {
		target = savedContext{URL: a.client.url}
	}
	if target.URL == "" {
		target.URL = defaultAPIURL
	}
	if a.client.caFile != "" {
		target.CAFile = a.client.caFile
	}
	if a.client.account != "" {
		target.Account = a.client.account
	}
	token, err := a.givenToken()
	if err != nil {
		return savedContext{}, err
	}
	if token != "" && token != target.Token {
		target.Token = token
		target.Account = a.client.account
	}
	return target, nil
}

// givenToken returns the API token of the flag or the environment, or "".
func (a *app) givenToken() (string, error) {
	if a.client.tokenFile != "" {
		return readSecretFile(a.in, a.client.tokenFile, "API token")
	}
	return a.getenv("SLUICE_API_TOKEN"), nil
}

func newClient(target savedContext) (*apiclient.Client, error) {
	config := apiclient.Config{URL: target.URL, Token: target.Token, Account: target.Account, UserAgent: "sluice/" + buildVersion().Version}
	if target.CAFile != "" {
		ca, err := os.ReadFile(target.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA certificate: %w", err)
		}
		config.CA = ca
	}
	return apiclient.New(config)
}

// contextDir is $XDG_CONFIG_HOME/sluice, by default ~/.config/sluice.
func (a *app) contextDir() (string, error) {
	if dir := a.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice"), nil
	}
	if home := a.getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "sluice"), nil
	}
	return "", errors.New("neither XDG_CONFIG_HOME nor HOME is set: no place for the context file")
}

func (a *app) loadContext() (savedContext, error) {
	dir, err := a.contextDir()
	if err != nil {
		// Without a home there is nothing saved; flags and environment may say everything.
		return savedContext{}, nil
	}
	name := filepath.Join(dir, "context.json")
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return savedContext{}, nil
	}
	if err != nil {
		return savedContext{}, fmt.Errorf("context file: %w", err)
	}
	var saved savedContext
	if err := json.Unmarshal(data, &saved); err != nil {
		return savedContext{}, fmt.Errorf("context file %s is damaged; run 'sluice login' to write it anew", name)
	}
	return saved, nil
}

// saveContext writes the context file, and the CA certificate beside it when there is one. It returns the file's name.
func (a *app) saveContext(saved savedContext, ca []byte) (string, error) {
	dir, err := a.contextDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("context file: %w", err)
	}
	saved.CAFile = ""
	if ca != nil {
		saved.CAFile = filepath.Join(dir, "ca.pem")
		if err := writePrivate(saved.CAFile, ca); err != nil {
			return "", fmt.Errorf("CA certificate: %w", err)
		}
	}
	data, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return "", fmt.Errorf("context file: %w", err)
	}
	name := filepath.Join(dir, "context.json")
	if err := writePrivate(name, append(data, '\n')); err != nil {
		return "", fmt.Errorf("context file: %w", err)
	}
	return name, nil
}

// writePrivate replaces a file as a whole; CreateTemp makes it mode 0600.
func writePrivate(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".sluice-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
